"""What the Train tab says and offers on machines that are made up, through the handlers that the page calls."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import model_check
from pipeline.errors import RecipeError
from pipeline.hardware import Gpu, Hardware, usable
from pipeline.memory import estimates
from pipeline.model_facts import ModelFacts
from pipeline.recipe import DataStep, ModelStep, Recipe
from pipeline.studio_home import StudioHome
from reasoning_ui import checks, train_tab
from reasoning_ui.review import bars_html
from reasoning_ui.shared import choices_of
from reasoning_ui.training_form import from_store
from tests.app.test_memory import BILLION, PACKAGES, QWEN, gpu

H200 = Gpu(0, "NVIDIA H200", 139.8, 0.4, (9, 0))
GOOD = Hardware(32, 128, 100, (H200,), "580.95.05", None, PACKAGES | {"unsloth_zoo": "2026.10.7"})
SMALL = replace(GOOD, gpus=(Gpu(0, "RTX 3060", 12.0, 0.3, (8, 6)),))
FORM = ["about", "problems", "review", "yaml", "offer 1", "offer 2", "offer 3", "suit", "fill"]


@pytest.fixture
def shared(tmp_path: Path) -> Any:
    """As much of the page as the handlers need: its home."""
    return SimpleNamespace(home=StudioHome(tmp_path / "home"), extras={})


def see(monkeypatch: pytest.MonkeyPatch, machine: Hardware, facts: ModelFacts = QWEN) -> None:
    """The page finds this machine, and every model has these facts."""
    monkeypatch.setattr(checks, "_remember", lambda key, seconds, make: make())
    monkeypatch.setattr(checks, "detect", lambda: machine)
    monkeypatch.setattr(model_check, "read_facts", lambda source, revision=None: replace(facts, source=source))
    monkeypatch.setattr(model_check, "free_disk_gib", lambda home: 10_000.0)


def form_of(model: str, training: str, source: str = "gsm8k") -> list[Any]:
    """The inputs of the page's handlers: data, rewards, goal and the values of the form."""
    _, data, rewards, _ = choices_of(Recipe(data=DataStep(source=source)))
    goal, shown = from_store(model, training)
    return [data, rewards, goal, *shown]


def page(shared: Any, recipe: Recipe, source: str = "gsm8k") -> dict[str, Any]:
    """What the person reads, tags taken out, and the words on the buttons ("" where there is none)."""
    model, _, _, training = choices_of(recipe)
    shown = train_tab._review(shared, *form_of(model, training, source))
    texts = [unescape(re.sub(r"<[^>]+>", " ", part)) for part in shown[:4]]
    return dict(zip(FORM, [*texts, *(button.value if button.visible else "" for button in shown[4:])], strict=True))


RECIPE = Recipe(model=ModelStep(source="owner/model"))


@pytest.mark.parametrize(("machine", "says", "engine"), [
    (GOOD, "Ready to train.", "Unsloth with vLLM, on one GPU"),
    (replace(GOOD, gpus=(H200, replace(H200, index=1))), "Ready to train.", "2 GPUs are here and this run uses one"),
    (replace(GOOD, driver="560.35.03"), "needs 580 or newer: update the driver. Until then training runs on the CPU",
     "TRL, because there is no GPU to use"),
    (replace(GOOD, packages={"torch": "2.11.0"}), "pip install -r requirements-gpu.txt",
     "TRL, because Unsloth and vLLM are not both installed"),
    (replace(GOOD, packages=GOOD.packages | {"unsloth": "2026.12.1"}), "unsloth 2026.12.1 is installed, but 2026.10.5",
     "Unsloth with vLLM"),
    (replace(GOOD, gpus=(replace(H200, used_gib=20.0, processes=1),)), "in use by 1 process outside this app",
     "NVIDIA H200, 140 GiB (120 GiB free)"),
    (Hardware(2, 24, 20), "of memory; this machine has 20.0 GiB free", "training runs on 2 CPU cores"),
])
def test_a_person_reads_what_the_machine_has_and_lacks(
        monkeypatch: pytest.MonkeyPatch, shared: Any, machine: Hardware, says: str, engine: str) -> None:
    see(monkeypatch, machine)
    shown = page(shared, RECIPE)
    assert says in " ".join(shown["problems"].split()) and engine in shown["review"]
    assert ("Ready" in shown["problems"]) is (says == "Ready to train.")


def test_a_button_makes_a_recipe_fit_that_is_too_large_for_the_gpu(
        monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    """12 GiB for 1.5 billion parameters: one click, and nothing speaks against starting any more."""
    see(monkeypatch, SMALL)
    large = RECIPE.model_copy(update={"model": ModelStep(source="owner/model", engine="trl")})
    before = page(shared, large)
    assert "does not fit" in before["review"] and "The buttons below make it fit." in before["problems"]
    assert before["offer 1"].startswith("Make it fit: ") and before["fill"] == ""
    model, _, _, training = choices_of(large)
    made_model, made_training = train_tab._apply_offer(shared, 0, *form_of(model, training))
    after = Recipe.parse({"model": json.loads(made_model), **json.loads(made_training)})
    assert all(e.fits for e in estimates(after, QWEN, usable(SMALL)))
    assert "Ready to train." in page(shared, after)["problems"]


def test_another_button_fills_the_gpu_with_the_same_answers_a_step(
        monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    see(monkeypatch, GOOD)
    small_pieces = RECIPE.model_copy(update={"grpo": RECIPE.grpo.model_copy(update={
        "batch_size": 8, "accumulation": 8})})
    assert page(shared, small_pieces)["fill"] == "Fill this machine: 64 answers at a time; 50% of the GPU for vLLM"
    model, _, _, training = choices_of(small_pieces)
    _, made = train_tab._apply_plan(shared, *form_of(model, training))
    grpo = json.loads(made)["grpo"]
    assert (grpo["batch_size"], grpo["accumulation"]) == (64, 1)


def test_the_bundled_model_and_a_few_rows_of_ones_own_get_settings_that_suit_them(
        monkeypatch: pytest.MonkeyPatch, shared: Any, tmp_path: Path) -> None:
    """Of 200 rows, every tenth without a solution, SFT gets 0.3, so 60: at the defaults 8 steps of 8. The demo's batch
    of 16 needs 16 epochs for its 60 steps. One click, and nothing speaks against starting any more."""
    file = tmp_path / "own questions.csv"
    file.write_text("question,solution,answer\n" + "".join(
        f"What is {i} + {i}?,{f'{i}+{i}={2 * i}.' if i % 10 else ''},{2 * i}\n" for i in range(200)), encoding="utf-8")
    see(monkeypatch, Hardware(2, 24, 20), replace(QWEN, parameters=984_192))
    before = page(shared, RECIPE, str(file))
    assert "A model of 1.0 million parameters hardly learns at such learning rates (SFT 0.0002, GRPO 5e-06)" in (
        before["problems"])
    assert "SFT has about 60 worked solutions and takes 8 learning steps over them" in before["problems"]
    assert before["suit"] == (
        "Use what suits: SFT 16 epochs, learning rate 0.002; GRPO 40 steps, learning rate 0.001")
    assert "own questions.csv" in before["about"] and str(tmp_path) not in before["about"]
    model, _, _, training = choices_of(RECIPE)
    made = train_tab._apply_suiting(shared, *form_of(model, training, str(file)))
    after = Recipe.parse({"model": json.loads(made[0]), **json.loads(made[1])})
    assert 60 * after.sft.epochs / after.sft.batch_size >= 60 and after.grpo.batch_size == 64
    shown = page(shared, after, str(file))
    assert "hardly learns" not in shown["problems"] and "seldom" not in shown["problems"] and shown["suit"] == ""


def test_sft_without_a_worked_solution_is_refused_before_it_starts(
        monkeypatch: pytest.MonkeyPatch, shared: Any, tmp_path: Path) -> None:
    """Questions with answers alone: SFT would end with no row; GRPO alone may start."""
    file = tmp_path / "answers.csv"
    file.write_text("question,answer\n" + "".join(f"What is {i} + 1?,{i + 1}\n" for i in range(40)), encoding="utf-8")
    see(monkeypatch, GOOD)
    assert "no row has a worked solution, so SFT has nothing to imitate" in page(shared, RECIPE, str(file))["problems"]
    model, _, _, training = choices_of(RECIPE)
    with pytest.raises(RecipeError, match="no row has a worked solution"):
        train_tab._start(shared, *form_of(model, training, str(file)))
    alone = RECIPE.model_copy(update={"sft": RECIPE.sft.model_copy(update={"enabled": False})})
    assert "Ready to train." in page(shared, alone, str(file))["problems"]


def test_few_rows_for_a_large_model_ask_only_for_more_epochs(
        monkeypatch: pytest.MonkeyPatch, shared: Any, tmp_path: Path) -> None:
    """0.3 of 300 rows are 90, so 12 steps of 8, and 60 steps in 6 epochs (5.3 rounded up); of the demo's 3,000 rows
    900, which is enough."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i} + 1?", "solution": f"{i}+1", "answer": i + 1}) + "\n"
                            for i in range(300)), encoding="utf-8")
    see(monkeypatch, GOOD)
    shown = page(shared, RECIPE, str(file))
    assert "about 90 worked solutions and takes 12 learning steps" in shown["problems"]
    assert shown["suit"] == "Use what suits: SFT 6 epochs" and "hardly learns" not in shown["problems"]
    assert "Ready to train." in page(shared, RECIPE, "demo")["problems"]


def test_several_machines_are_announced_with_where_their_command_is(
        monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    """Batch 8 on each of two machines, in groups of 8: a step has two questions."""
    see(monkeypatch, GOOD)
    shown = page(shared, RECIPE.model_copy(update={"model": ModelStep(source="owner/model", machines=2)}))
    assert "Ready to train." in shown["problems"] and "TRL, because 2 machines train together" in shown["review"]
    assert "its log says which command to give there" in shown["review"]
    assert "each of 2 questions gets 8 answers" in shown["review"]


def test_memory_that_others_hold_is_not_blamed_on_the_recipe(monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    """24 GiB, nearly all taken: no button helps, but waiting does. Of 0 GiB (a GPU that does not tell) nothing fits."""
    for memory, used, says in ((24.0, 23.9, "once other programs do not hold the rest"),
                               (0.0, 0.0, "the GPU has 0.0 GiB: choose a smaller model")):
        see(monkeypatch, replace(GOOD, gpus=(replace(H200, memory_gib=memory, used_gib=used),)))
        shown = page(shared, RECIPE)
        assert says in shown["problems"] and "No setting here" not in shown["problems"] and shown["offer 1"] == ""


def test_a_share_in_which_vllm_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    see(monkeypatch, SMALL)
    tight = RECIPE.model_copy(update={"model": ModelStep(source="owner/model", gpu_memory_share=0.1)})
    assert "A share of 10% of the GPU is too small for vLLM with this model: set it to 33% or more" in page(
        shared, tight)["problems"]


def test_a_model_that_cannot_be_trained_is_refused_with_what_would_work(
        monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    see(monkeypatch, SMALL, replace(QWEN, parameters=14_000_000_000, linears={"q": ((40_000, 40_000),) * 8}))
    shown = page(shared, RECIPE)
    assert "Change this before training:" in shown["problems"]
    assert "in 16bit; the GPU has 12.0 GiB: choose 4bit, in which they take" in shown["problems"]


@pytest.mark.parametrize("model", [{"engine": "unsloth"}, {"engine": "trl"}, {"engine": "trl", "vllm_sleep": True},
                                   {"engine": "trl", "fast_inference": False}])
def test_a_part_of_the_memory_has_one_colour_in_both_stages_and_no_other_part_has_it(model: dict[str, Any]) -> None:
    recipe = Recipe.parse({"model": model, "grpo": {"batch_size": 2, "num_generations": 2}})
    activations = set()
    for estimate in [*estimates(recipe, BILLION, gpu(80)), *estimates(recipe, BILLION, Hardware(2, 24, 20))]:
        parts = dict(re.findall(r'<i class="(rs-bar-\d)"></i><span>([^<]+)', bars_html(estimate)))
        assert list(parts.values()) == [bar.name for bar in estimate.bars]
        activations |= {colour for colour, name in parts.items() if name == "Activations"}
    assert len(activations) == 1

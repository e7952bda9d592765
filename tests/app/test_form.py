"""The form made from the recipe's fields, the shared choices, and what the header says to do next."""

import json
from pathlib import Path

import gradio as gr
import pytest

from pipeline.demo import demo_recipe
from pipeline.errors import RecipeError, StudioError
from pipeline.model_check import ModelCheck
from pipeline.presets import STARTS
from pipeline.recipe import DataStep, Recipe, RewardSpec, RewardsStep
from pipeline.run_state import RunCard, RunState
from pipeline.studio_home import StudioHome
from reasoning_ui import checks
from reasoning_ui.form import bounds_in_words, component, in_titles, short_number
from reasoning_ui.header import RESUME, chosen_data, chosen_model, data_choices, gone, shown_in, status_html
from reasoning_ui.next_step import missing_parts, next_step, unattended
from reasoning_ui.review import plan_lines, problems_html
from reasoning_ui.shared import choices_of, data_step, in_words, model_step, recipe_of, training_values, within
from reasoning_ui.train_tab import _expect, _fill, _recipe, _start_from, _store, problems_of
from reasoning_ui.training_form import GOALS, SETTINGS, from_store, shown_of, stored, values_of


def test_every_field_of_the_shown_steps_has_a_component_with_its_label_and_reason() -> None:
    for setting in SETTINGS:
        shown = component(setting, None if setting.optional else setting.info.get_default(call_default_factory=True))
        assert shown.label == setting.info.title
        assert setting.info.description and setting.info.description in str(getattr(shown, "info", ""))


@pytest.mark.parametrize("recipe", [start.recipe() for start in STARTS.values()], ids=["defaults", "demo", "gsm8k"])
def test_a_recipe_comes_back_unchanged_from_the_form(recipe: Recipe) -> None:
    model, data, rewards, training = choices_of(recipe)
    goal, shown = from_store(model, training)
    assert _recipe(data, rewards, goal, shown) == recipe
    assert recipe_of(model, data, rewards, training) == recipe


def test_a_start_brings_its_own_model_and_data_and_only_the_defaults_keep_the_chosen_ones() -> None:
    """GSM8K's own test is asked at the end, since nothing of its training part is held out (a test part of 0)."""
    chosen = choices_of(Recipe(model={"source": "owner/name"}, data={"source": "limo"}))
    for name, start in STARTS.items():
        found = recipe_of(*_start_from(name, *chosen))
        assert found == (start.recipe() if start.whole else Recipe(model=found.model, data=found.data)), name
        assert (found.model.source == "owner/name") == (not start.whole) == (found.data.source == "limo"), name
        assert _expect(name).visible and _expect(name).value == start.expect
    assert _start_from("", *chosen) == chosen and not _expect("").visible
    gsm8k = next(start.recipe() for name, start in STARTS.items() if name.startswith("GSM8K"))
    assert (gsm8k.data.split.test, gsm8k.evaluate.benchmarks) == (0, ["gsm8k"])
    assert plan_lines(gsm8k, ModelCheck(None, ()))[-1].endswith("GRPO model answer gsm8k.")


def test_fields_sent_while_a_recipe_is_on_its_way_into_them_change_nothing() -> None:
    """Gradio sends the newest edit again after an earlier one: with values from before the recipe that was opened."""
    goal, shown = from_store("", "{}")
    _, training, sent = _store(goal, shown, "")
    assert json.loads(sent)[1] == training and json.loads(training)
    assert all(isinstance(value, dict) and value["__type__"] == "update" and len(value) == 1
               for value in _store(goal, shown, "late"))


def test_what_people_type_is_read_as_meant() -> None:
    """5e-6 as text, optional numbers with and without a value, and layers separated by commas."""
    goal, shown = shown_of({})
    index = {(s.step, s.name): i for i, s in enumerate(SETTINGS)}
    shown[index["grpo", "learning_rate"]] = " 3e-5 "
    shown[index["sft", "max_steps"]] = ""
    shown[index["evaluate", "limit"]] = " 12 "
    shown[index["grpo", "epsilon_high"]] = "0.28"
    shown[index["model", "revision"]] = "  "
    shown[index["lora", "targets"]] = "q_proj, v_proj,"
    recipe = _recipe("", "", goal, shown)
    assert recipe.grpo.learning_rate == 3e-5 and recipe.sft.max_steps is None
    assert recipe.evaluate.limit == 12 and recipe.grpo.epsilon_high == 0.28
    assert recipe.model.revision is None and recipe.lora.targets == ["q_proj", "v_proj"]


@pytest.mark.parametrize(("goal", "flags"), GOALS.items())
def test_the_goal_switches_the_stages(goal: str, flags: tuple[bool, bool]) -> None:
    values = values_of(goal, shown_of({})[1])
    assert (values["sft"]["enabled"], values["grpo"]["enabled"]) == flags
    assert shown_of(values)[0] == goal


def test_an_error_speaks_in_the_forms_labels() -> None:
    with pytest.raises(RecipeError, match="GRPO > Learning rate: must be a number above 0"):
        goal, shown = shown_of({"grpo": {"learning_rate": 5.0}})
        _recipe("", "", goal, shown)
    assert in_titles("nonsense.key: x") == "nonsense.key: x"
    with pytest.raises(RecipeError, match=r"At most this many questions: must be a whole number of at least 1 .*'few'"):
        goal, shown = shown_of({"evaluate": {"limit": "few"}})
        _recipe("", "", goal, shown)


def test_the_form_shows_the_choices_and_stays_as_it_is_where_none_was_made() -> None:
    assert _fill(choices_of(Recipe())[0], "")[0] == {"__type__": "update"}
    other = choices_of(demo_recipe(1))
    assert _fill(other[0], other[3])[0] == "SFT, then GRPO"


def test_an_invalid_model_setting_is_kept_in_the_form_but_not_shared() -> None:
    goal, shown = shown_of({"model": {"max_length": 3}})
    model, training = stored(values_of(goal, shown))
    assert model is None and "grpo" in json.loads(training)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"unknown": 1}', '{"source": 5}'])
def test_what_the_browser_kept_from_elsewhere_falls_back_to_the_defaults(text: str) -> None:
    assert model_step(text).source == "tiny"
    assert data_step(text).source == "demo"
    assert training_values(text) == {}


def test_choosing_in_the_header_keeps_the_tags_and_drops_what_belonged_to_the_old_choice() -> None:
    old = DataStep(source="a.csv", question="q", tags={"scheme": "think"}, config="main").model_dump_json()
    seen = json.dumps(["status", [], "other", "a.csv", "a-run"])
    new = data_step(chosen_data("gsm8k", old, seen))
    assert (new.source, new.question, new.config, new.tags.scheme) == ("gsm8k", None, None, "think")
    assert model_step(chosen_model("  ", "", seen)).source == "tiny"


@pytest.mark.parametrize(("seen", "model", "data", "run"), [
    (json.dumps(["status", [], "owner/name", "a.csv", "a-run"]), "owner/name", "a.csv", "a-run"),
    ("", "tiny", "demo", "")])
def test_what_the_header_showed_already_is_no_choice(seen: str, model: str, data: str, run: str) -> None:
    """A dropdown that is left with Tab sends what it shows, also where a run was opened that it has not heard of."""
    assert [chosen_model(model, "", seen), chosen_data(data, "", seen)] == [gr.skip()] * 2
    assert shown_in(seen)[2] == run


@pytest.mark.parametrize(("value", "text"), [
    (2e-4, "2e-4"), (5e-6, "5e-6"), (0.0, "0"), (0.05, "0.05"), (1.5e-3, "1.5e-3")])
def test_small_numbers_are_written_as_people_write_them(value: float, text: str) -> None:
    assert short_number(value) == text and float(text) == value


def test_bounds_are_told_where_they_help() -> None:
    words = {(s.step, s.name): bounds_in_words(s) for s in SETTINGS}
    assert words["lora", "rank"] == "(1 to 512)"
    assert words["", "seed"] == "(0 or more)"
    assert words["grpo", "temperature"] == "(above 0, to 5)"


def test_what_comes_from_people_is_escaped() -> None:
    assert "<script>" not in problems_html(["<script>alert(1)</script>"])


GOOD = ModelCheck(None)


@pytest.mark.parametrize(("state", "to_compare", "tab"), [
    (RunState("running", stage="grpo", alive=True), False, "live"), (RunState("waiting"), False, "runs"),
    (RunState("running", stage="ask", alive=True, kind="ask"), False, "compare"),
    (RunState("finished"), True, "compare"), (RunState("finished"), False, "export"),
    (RunState("interrupted"), False, "live"), (RunState("failed", reason="No memory."), False, "runs"),
    (None, False, "train")])
def test_the_next_step_follows_the_run(state: RunState | None, to_compare: bool, tab: str) -> None:
    assert next_step((), state, newcomer=False, to_compare=to_compare).tab == tab


def test_the_headers_button_resumes_and_then_shows_the_run(tmp_path: Path) -> None:
    """Refused in words where there is nothing to resume; any other target is a tab."""
    step = next_step((), RunState("stopped"), newcomer=False, to_compare=False)
    assert step.resumes and step.button == "Resume it"
    assert not next_step((), RunState("finished"), newcomer=False, to_compare=False).resumes
    assert gone(StudioHome(tmp_path), "no-such-run", "train").selected == "train"
    with pytest.raises(StudioError, match="no-such-run"):
        gone(StudioHome(tmp_path), "no-such-run", RESUME)


def test_a_browser_that_has_chosen_no_run_hears_of_one_that_works_or_was_interrupted(tmp_path: Path) -> None:
    """Somebody else's phone, or the same person after a crash. A run that is over by itself is not pressed on anybody.
    """
    def card(name: str, state: str) -> RunCard:
        return RunCard(f"id-{name}", name, "", "train", 0.0, RunState(*state.split()))

    for states, name in ((("finished", "running"), "1"), (("interrupted", "waiting"), "1"), (("interrupted",), "0"),
                         (("finished", "interrupted"), None), (("failed", "stopped"), None), ((), None)):
        cards = [card(str(i), state) for i, state in enumerate(states)]
        found = unattended(cards, lambda card: True)
        assert (found and found.name) == name
        assert unattended(cards, lambda card: False) is None
    asks = RunCard("id", "A", "", "train", 0.0, RunState("running", kind="ask"))
    assert unattended([asks], lambda card: True) is None
    strangers = [card("theirs", "running"), card("mine", "interrupted"), card("older", "interrupted")]
    assert unattended(strangers, lambda card: card.name != "theirs").name == "mine"
    step = next_step((), None, False, False, card("<b>A", "running"))
    assert (step.words, step.button, step.tab, step.run) == ("«<b>A» is at work.", "Watch it live", "live", "id-<b>A")
    assert "&lt;b&gt;A" in (shown := status_html(step, "", None)) and 'data-next=""' in shown
    assert next_step((), None, False, False, card("A", "waiting")).tab == "runs"
    missing = (("Model: none.", "train"),)
    assert "was interrupted" in next_step((), None, False, False, card("A", "interrupted")).words
    assert next_step(missing, None, False, False, card("A", "interrupted")).button == "Show it"
    assert next_step(missing, None, False, False, card("A", "running")).button == "Watch it live"
    chosen = next_step((), RunState("finished"), False, False, card("A", "running"))
    assert not chosen.run and chosen.tab == "export"
    assert gone(StudioHome(tmp_path), "", "live 20260101-run").selected == "live"


def test_a_run_that_waits_for_room_on_the_disk_says_so_in_the_header() -> None:
    paused = RunState("running", stage="grpo", done=3, total=9, unit="steps", alive=True, paused=True,
                      reason="Paused: disk full.")
    step = next_step((), paused, newcomer=False, to_compare=False)
    assert step.words == "Paused: disk full."
    assert "‖ paused" in (shown := status_html(step, "A run", paused)) and "running" not in shown


def test_a_newcomer_is_sent_to_the_demo_and_what_is_missing_comes_before_training() -> None:
    assert next_step((), None, newcomer=True, to_compare=False).tab == "start"
    broken = ModelCheck(None, ("No such model.",))
    off = RewardsStep(functions=[RewardSpec(kind="format_exact", enabled=False)])
    missing = missing_parts(broken, "There is no dataset '/no/such.csv'.", off)
    assert [tab for _, tab in missing] == ["train", "data", "rewards"]
    step = next_step(missing, None, newcomer=False, to_compare=False)
    assert step.tab == "train" and "No such model." in step.missing[0]
    assert missing_parts(GOOD, "", RewardsStep()) == ()


def test_a_file_without_a_row_that_can_be_read_is_told_before_the_start(tmp_path: Path) -> None:
    """An upload is chosen before its rows are seen; what the Data tab says of it counts for the header and Start."""
    files = {"empty.csv": b"", "noise.jsonl": bytes(range(128, 256)) * 9, "good.csv": b"question,answer\n1+1?,2\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = {name: checks.dataset(DataStep(source=str(tmp_path / name))) for name in (*files, "gone.csv")}
    assert "'empty.csv' is empty" in found["empty.csv"] and "no row that can be read" in found["noise.jsonl"]
    assert found["good.csv"] == "" and "There is no dataset" in found["gone.csv"]
    assert all(checks.dataset(DataStep(source=name)) == "" for name in ("demo", "owner/name-1.5", "gsm8k"))
    recipe = Recipe(data=DataStep(source=str(tmp_path / "empty.csv")))
    assert problems_of(GOOD, recipe)[0].startswith("Dataset: The file 'empty")


def test_a_recipe_file_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "noise.yaml").write_bytes(b"\xc9\xff")
    with pytest.raises(RecipeError, match=r"'noise.yaml' is no recipe: it holds no text"):
        Recipe.load(tmp_path / "noise.yaml")
    with pytest.raises(RecipeError, match="grpo: must be settings, each with a name and a value"):
        Recipe.from_yaml("grpo: [1]")


def test_the_form_of_a_fresh_page_shows_the_questions_as_they_are() -> None:
    """What `from_store` gives is shown as it is: «test», not its letters."""
    from reasoning_ui.form import component
    from reasoning_ui.training_form import SETTINGS, from_store

    _, shown = from_store("", "{}")
    at = next(i for i, setting in enumerate(SETTINGS) if setting.name == "benchmarks")
    assert component(SETTINGS[at], shown[at]).value == "test"


@pytest.mark.parametrize(("source", "title"), [
    ("/home/me/uploads/0a1b/rows.jsonl", "rows.jsonl"),
    ("reasoning-gym:chain_sum?size=10&seed=1&difficulty=0", "Reasoning Gym: chain sum"),
    ("demo", "Demo: arithmetic word problems"), ("owner/name", None)])
def test_the_header_names_the_dataset_for_people(source: str, title: str | None) -> None:
    """A path or an address is not a name; what has no better one stays as it is."""
    assert {value: name for name, value in data_choices(source)}.get(source) == title


@pytest.mark.parametrize(("number", "words"), [(None, "nothing was written"), (0, "0 is not"), (33, "33 is not")])
def test_a_number_out_of_bounds_is_told_with_its_field(number: float | None, words: str) -> None:
    with pytest.raises(RecipeError, match=f"^Questions: {words}.* from 1 to 32[.]$"):
        within("Questions", number, 1, 32)
    assert [within("Questions", number, 1, 32) for number in (1, 4.0, 32)] == [1, 4, 32]


@pytest.mark.parametrize(("error", "title"), [
    (RecipeError("<b>12</b>"), "This needs a change"), (OSError(28, "No space left on device"), "This did not work")])
def test_a_message_says_in_its_title_who_has_to_act(error: StudioError | OSError, title: str) -> None:
    told = in_words(error)
    assert told.title == title
    assert told.message.startswith(f"<strong>{title}</strong> ")
    assert "<b>" not in told.message

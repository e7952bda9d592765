"""The Rewards tab without a browser: changes to a set, YAML, HTML that escapes, the docs page, and no torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RewardError, RunError, StudioError
from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY, RewardSet
from pipeline.rewards.custom import TEMPLATE
from pipeline.rewards.presets import PRESETS
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from pipeline.tags import SCHEMES, wrap
from reasoning_ui import rewards_state as state
from reasoning_ui.rewards_bench import Trial, gamed, mutated, scored
from reasoning_ui.rewards_editor import check_html, form_html, with_values
from reasoning_ui.rewards_given import Given, model_choices, model_of, typed, written
from reasoning_ui.rewards_html import bench_html, set_html

SCHEME = SCHEMES["reasoning"]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "rewards.md"


def test_rewards_are_added_removed_moved_and_named() -> None:
    step, place = state.with_new(RewardsStep(), "overlong")
    assert [f.kind for f in step.functions][place] == "overlong" and place == 4
    step, place = state.with_new(step, "overlong")
    assert step.functions[place].label == "overlong 2"
    step, place = state.moved(step, place, -1)
    assert place == 4 and step.functions[4].label == "overlong 2"
    assert state.moved(step, 0, -1) == (step, 0)
    step, place = state.without(step, 5)
    assert len(step.functions) == 5 and place == 4
    step = state.changed(step, 4, weight=-2, enabled=False, name="length")
    assert step.functions[4].label == "length" and not step.functions[4].enabled
    assert state.choices_of(step)[4] == ("5. length (off)", "length")
    with pytest.raises(RewardError, match="two rewards are named"):
        state.changed(step, 4, name="format_exact")
    with pytest.raises(RewardError, match="Weight"):
        state.changed(step, 4, weight=None)


def test_a_new_custom_reward_starts_with_a_template_that_works() -> None:
    step, place = state.with_new(RewardsStep(functions=[]), "custom")
    assert step.functions[place].code == TEMPLATE
    assert state.problem_of(step, SCHEME) is None
    assert "The code works" in check_html(step.functions[place], SCHEME)
    broken = state.changed(step, 0, code="def score(:\n  pass")
    assert "line 1" in check_html(broken.functions[0], SCHEME)
    assert "cannot be used" in str(state.problem_of(broken, SCHEME))


@pytest.mark.parametrize("kind", LIBRARY)
def test_the_form_of_every_kind_holds_its_defaults_and_reads_them_back(kind: str) -> None:
    step, place = state.with_new(RewardsStep(functions=[]), kind)
    html = form_html(step.functions[0], place)
    values: dict[str, object] = {"name": "", "weight": "1", "enabled": True}
    for name, field in LIBRARY[kind].parameters.model_fields.items():
        assert f'for="reward-p-{name}"' in html and f'id="reward-p-{name}"' in html
        default = field.default
        values[f"p-{name}"] = "\n".join(default) if isinstance(default, list) else default if isinstance(
            default, bool) else str(default)
    assert with_values(step, 0, values) == step
    with pytest.raises(RewardError, match="Weight"):
        with_values(step, 0, values | {"weight": ""})
    with pytest.raises(RewardError, match="no longer there"):
        with_values(step, 7, values)


def test_the_form_escapes_what_people_write() -> None:
    evil = '"><script>alert(1)</script>'
    spec = RewardSpec(kind="text_match", name=evil[:60], parameters={"expected": evil})
    assert "<script" not in form_html(spec, 0)


def test_only_parameters_that_differ_from_the_defaults_are_kept() -> None:
    assert state.own_parameters("format_exact", {"right": 3.0, "wrong": -1.0}) == {"wrong": -1.0}
    with pytest.raises(RewardError, match="Right format"):
        state.own_parameters("format_exact", {"right": None, "wrong": 0})
    with pytest.raises(RewardError, match="does not fit"):
        state.own_parameters("overlong", {"limit": 100, "buffer": 100, "worst": -1})


@pytest.mark.parametrize("name", PRESETS)
def test_a_set_survives_yaml(name: str) -> None:
    step = PRESETS[name].step
    assert state.from_yaml(state.to_yaml(step)) == step


def test_code_survives_yaml_as_a_readable_block() -> None:
    step, _ = state.with_new(RewardsStep(), "custom")
    text = state.to_yaml(step)
    assert "code: |" in text and state.from_yaml(text) == step
    with pytest.raises(RewardError, match="switched off"):
        state.from_yaml(text, allow_custom=False)


@pytest.mark.parametrize("text", ["", "5", "- kind: nonsense", "rewards: [1]", "functions: {",
                                  "!!python/object:os.system x",
                                  "functions: []", "rewards: {functions: [{kind: format_exact, weigth: 2}]}",
                                  "- kind: format_exact\n- kind: format_exact", "a: &a [*a]", "x" * 600_000])
def test_wrong_yaml_is_refused_in_words(text: str) -> None:
    with pytest.raises(StudioError):
        state.from_yaml(text)


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=60)
def test_any_text_in_the_bench_becomes_safe_html(text: str) -> None:
    evil = text + "<script>alert(1)</script><img src=x onerror=alert(1)>"
    spec = RewardSpec(kind="text_match", name=evil[:60].strip() or "x", parameters={"expected": evil})
    with RewardSet(RewardsStep(functions=[spec]), SCHEME) as rewards:
        scores = rewards.score([evil, f"<answer>{evil}</answer>"], [evil] * 2, [evil] * 2)
        html = bench_html([evil, "b"], [evil, evil], scores, [0.0, 0.0], SCHEME)
        html += set_html(rewards.step, SCHEME, evil)
    assert "<script" not in html and "<img" not in html


def test_completions_are_split_at_lines_of_dashes() -> None:
    assert typed("q", " 42 ", "a\n---\nb\nb\n-----\n") == Given("q", "42", ("a", "b\nb", ""))
    assert typed("q", " ", "- a\n-- b") == Given("q", None, ("- a\n-- b",))
    with pytest.raises(RewardError, match="at most 64"):
        typed("q", "42", "\n---\n" * 100)


def sampled(home: StudioHome, answers: list[list[str]]) -> str:
    """A run in which a model has answered questions: `What is 0 + 6?` and so on."""
    folder = RunFolder(home.runs_dir / f"sampled-{len(answers)}")
    writer = RunWriter(folder)
    for i, texts in enumerate(answers):
        rows = [CompletionRecord(text, 30 + k, k == 1, {}, None, None) for k, text in enumerate(texts)]
        writer.add_groups("dry_run", 1, i + 1, [GroupRecord(f"What is {i} + 6?", str(i + 6), rows, None)])
    writer.close()
    return folder.id


def test_what_a_model_wrote_is_scored_question_by_question(tmp_path: Path) -> None:
    """7 for 6 is within 20 %. Advantages are those of each question's group; true lengths reach the rewards."""
    home = StudioHome(tmp_path)
    right, wrong = (wrap(SCHEME, "So.", text) for text in ("6", "7"))
    run = sampled(home, [[right, wrong], [right, wrong]])
    given = written(home, run)
    assert given[1] == Given("What is 1 + 6?", "7", (right, wrong), (30, 31), (False, True))
    step = RewardsStep(functions=[RewardSpec(kind="answer_exact", name="answer"),
                                  RewardSpec(kind="overlong", name="length", parameters={"limit": 62, "buffer": 32})])
    with RewardSet(step, SCHEME) as rewards:
        trial = Trial(step, rewards, given)
        scores = trial.score()
        assert scores.raw == {"answer": [3.0, 0.5, 0.5, 3.0], "length": [0.0, -1.0, 0.0, -1.0]}
        html = scored(trial)
        assert html.count("class='question'") == 2 and "2. What is 1 + 6?  (right: 7)" in html
        advantages = rewards.advantages(scores, 2)
        assert advantages[0] == -advantages[1] > 0 > advantages[2]
        assert "answer before the reasoning" in mutated(trial) and "every number" in gamed(trial)
        assert "made up" not in mutated(trial)
        poor = Trial(step, rewards, written(home, sampled(home, [[wrong, wrong]])))
        assert "made up from the right answer" in mutated(poor)
    with pytest.raises(RunError, match="Let it answer"):
        written(home, "")


def test_at_most_64_answers_of_a_model_are_scored_and_only_whole_groups(tmp_path: Path) -> None:
    home = StudioHome(tmp_path)
    given = written(home, sampled(home, [["a"] * 24] * 4))
    assert [len(group.texts) for group in given] == [24, 24]


def test_models_of_runs_and_folders_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = StudioHome(tmp_path)
    home.add_run("run-one", "First", "train")
    folder = RunFolder(home.runs_dir / "run-one").model("sft")
    folder.mkdir(parents=True)
    assert model_choices(home) == [("The chosen model, as it is now", "")]
    (folder / "config.json").write_text("{}")
    assert model_choices(home)[1:] == [("«First» after SFT", "run-one/sft")]
    assert [model_of(home, name) for name in ("run-one/sft", None, "a/b")] == ["run-one/sft", "", "a/b"]
    monkeypatch.chdir(folder.parent)  # its `sft` is found, and its `tiny` does not hide the bundled one
    (folder.parent / "tiny").mkdir()
    assert [model_of(home, name) for name in (str(folder), "sft", "tiny")] == [str(folder), str(folder), "tiny"]
    with pytest.raises(RunError, match="no finished model after GRPO"):
        model_of(home, "run-one/grpo")


def test_the_table_shows_the_range_of_the_total() -> None:
    html = set_html(RewardsStep(), SCHEME, None)
    assert "−6" in html and "+9.5" in html


def test_the_docs_page_explains_every_reward_and_parameter() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for kind in LIBRARY.values():
        section = text[text.index(f"(`{kind.kind}`)") :].split("\n#### ")[0]
        assert kind.title in text and kind.sentence in section, kind.kind
        assert section.count("\n| ``") + section.count("\n| (empty)") >= len(kind.examples), kind.kind
        for name, field in kind.parameters.model_fields.items():
            assert f"| `{name}` ({field.title})" in section and str(field.description) in section, (kind.kind, name)
    for preset in PRESETS.values():
        assert preset.title in text and preset.sentence in text
    assert TEMPLATE in text


def test_the_tab_and_all_it_does_bring_no_torch() -> None:
    code = ("import sys\nfrom reasoning_ui import rewards_bench as b, rewards_tab\n"
            "from pipeline.rewards.presets import PRESETS\n"
            "from pipeline.rewards import RewardSet\nfrom pipeline.tags import SCHEMES\n"
            "from reasoning_ui.rewards_given import typed\n"
            "given = [typed('q', '8', '<reasoning>a</reasoning><answer>2^3</answer>')]\n"
            "for f in (b.scored, b.mutated, b.gamed):\n"
            "    for p in PRESETS.values():\n"
            "        with RewardSet(p.step, SCHEMES['reasoning']) as found: f(b.Trial(p.step, found, given))\n"
            "import pipeline.stages.dry_run\n"
            "assert not {'torch', 'transformers', 'trl', 'sympy'} & set(sys.modules), 'heavy'\nprint('fine')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "fine", done.stderr[-2000:]

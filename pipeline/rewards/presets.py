"""Ready-made reward sets."""

from dataclasses import dataclass

from pipeline.recipe import RewardSpec, RewardsStep


@dataclass(frozen=True)
class Preset:
    """A named reward set with one sentence about when to use it."""

    title: str
    sentence: str
    step: RewardsStep


def _step(*specs: RewardSpec) -> RewardsStep:
    return RewardsStep(functions=list(specs))


PRESETS: dict[str, Preset] = {
    "seed": Preset(
        "Seed workflow", "The four classic rewards for numeric answers: exact format +3; each tag +0.5 or -1; the "
        "answer +3, +1.5, +1, +0.5 or -1.5; the number +1.5 or -0.5.", RewardsStep()),
    "r1": Preset(
        "R1 style", "Two plain rewards, right answer and right format, as in DeepSeek-R1: hard to game, but silent "
        "until the model is right now and then.",
        _step(RewardSpec(kind="math_equal", name="accuracy"),
              RewardSpec(kind="format_exact", name="format", parameters={"right": 1.0}))),
    "structured": Preset(
        "Structured output", "The answer is JSON of a given shape: partial credit for valid JSON, full credit for the "
        "schema. Put your own schema in.",
        _step(RewardSpec(kind="format_approximate", name="tags", weight=0.5),
              RewardSpec(kind="json_valid", name="json"),
              RewardSpec(kind="json_schema", name="schema", weight=2.0))),
    "short": Preset(
        "Short answers", "Right answers with little text: a wrong answer never pays, and length and repetition cost.",
        _step(RewardSpec(kind="format_exact", name="format", parameters={"right": 1.0}),
              RewardSpec(kind="answer_exact", name="answer", parameters={
                  "same": 2.5, "within_10": 0.0, "within_20": 0.0, "wrong": -1.0}),
              RewardSpec(kind="overlong", name="length", parameters={"limit": 256, "buffer": 128}),
              RewardSpec(kind="repetition", name="repetition"))),
}
"""By short name: seed, r1, structured, short."""

"""Rewards for the format: all of it at once, or credit for every tag."""

from pydantic import Field

from pipeline import tags
from pipeline.rewards.base import Example, Item, Mark, Parameters, RewardKind
from pipeline.tags import TagScheme

GOOD = "<reasoning>\n6 x 7 = 42\n</reasoning>\n<answer>42</answer>"


class FormatExact(Parameters):
    """Scores of the exact format."""

    right: float = Field(3.0, title="Right format", ge=-100, le=100,
        description="Every tag once, in order, nothing outside.")
    wrong: float = Field(0.0, title="Anything else", ge=-100, le=100,
        description="A tag is missing, repeated or misplaced.")


def format_exact(item: Item, p: FormatExact) -> Mark:
    """All or nothing for the whole format."""
    if tags.is_well_formed(item.scheme, item.text):
        return p.right, "the format is right"
    return p.wrong, "; ".join(item.parsed.problems)


class FormatApproximate(Parameters):
    """Credit and penalty for each tag."""

    once: float = Field(0.5, title="Tag appears once", ge=-100, le=100, description="Credit for each tag.")
    missing: float = Field(-1.0, title="Tag is missing", ge=-100, le=100, description="For each tag that is not there.")
    repeated: float = Field(-1.0, title="Tag is repeated", ge=-100, le=100, description="For each tag seen twice.")
    out_of_order: float = Field(0.0, title="Tags out of order", ge=-100, le=100,
        description="Added when every tag appears once but not in the right order.")


def format_approximate(item: Item, p: FormatApproximate) -> Mark:
    """Partial credit: one score per tag, and one for their order."""
    total, reasons, places = 0.0, [], []
    for tag in _counted(item.scheme):
        count = item.text.count(tag)
        score = p.once if count == 1 else p.repeated if count else p.missing
        total += score
        if count == 1:
            places.append(item.text.find(tag))
        reasons.append(f"{tag} {'appears once' if count == 1 else _times(count)}: {score:+g}")
    if p.out_of_order and len(places) == len(reasons) and places != sorted(places):
        total += p.out_of_order
        reasons.append(f"out of order: {p.out_of_order:+g}")
    return total, "; ".join(reasons)


def _counted(scheme: TagScheme) -> tuple[str, ...]:
    return (scheme.answer_open,) if scheme.is_boxed else scheme.tags


def _times(count: int) -> str:
    return "is missing" if count == 0 else "appears twice" if count == 2 else f"appears {count} times"


def _approximate_bounds(p: FormatApproximate, scheme: TagScheme) -> tuple[float, float]:
    scores, n = (p.once, p.missing, p.repeated), len(_counted(scheme))
    return n * min(scores) + min(0.0, p.out_of_order), n * max(scores) + max(0.0, p.out_of_order)


KINDS = (
    RewardKind(
        "format_exact", "Exact format", "Every tag once, in order, and nothing outside the two blocks: all or nothing.",
        FormatExact, lambda p, s: (min(p.right, p.wrong), max(p.right, p.wrong)), format_exact,
        (Example(GOOD, "42", 3.0), Example("<answer>42</answer>", "42", 0.0),
         Example(GOOD + " Done!", "42", 0.0)), "Format"),
    RewardKind(
        "format_approximate", "Approximate format", "Credit for every tag that appears once, penalty for one that is "
        "missing or repeated, so that a model is drawn towards the format before it gets all of it right.",
        FormatApproximate, _approximate_bounds, format_approximate,
        (Example("<reasoning>6 x 7 = 42</reasoning><answer>42", "42", 0.5), Example(GOOD, "42", 2.0),
         Example("42", "42", -4.0), Example(GOOD + "<answer>1</answer>", "42", -1.0)), "Format"),
)

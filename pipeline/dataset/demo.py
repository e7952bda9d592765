"""The demo's own data: arithmetic word problems with worked steps, made by a seeded generator in plain Python.

A problem is a chain of one to four operations told as a short story (five themes, four layouts). Its difficulty is the
number of operations. Which part a question belongs to is decided by a hash of its words, so the parts never share a
question, whatever the seeds. The SFT rows are of mixed quality, as collected data is: most give the right answer
without any work (`HASTY_SHARE`), the others show every step.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import DatasetError

Part = Literal["pretrain", "sft", "grpo", "validation", "test"]

HASTY_SHARE = 0.6
"""Share of the SFT rows that state the right answer and show no work."""

STEP_WEIGHTS = {1: 0.25, 2: 0.35, 3: 0.25, 4: 0.15}
"""How often a problem has this many steps."""

# Of 256 hash values, how many belong to each part.
_SHARES: dict[str, range] = {
    "pretrain": range(0, 192), "sft": range(192, 208), "grpo": range(208, 232),
    "validation": range(232, 240), "test": range(240, 256),
}
_LARGEST = 400  # no intermediate result is larger

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon", "Kira", "Leo",
         "Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Uma", "Vera", "Will", "Yara", "Zoe")
ITEMS = ("apples", "books", "cards", "coins", "shells", "pens", "stones", "stickers",
         "marbles", "stamps", "plums", "cups", "beads", "nuts", "toys", "pears")
HASTY_NOTES = ("I know this one.", "I can see it at once.", "I see it.")


@dataclass(frozen=True)
class Theme:
    """Sentences of one kind of story. `{k}` is the operand, `{a}` and `{b}` the factors of an opening product."""

    start: tuple[str, ...]
    groups: tuple[str, ...]
    add: tuple[str, ...]
    sub: tuple[str, ...]
    mul: tuple[str, ...]
    div: tuple[str, ...]
    ask: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """A question, the equations that solve it in order (`12+7=19`), and the answer."""

    question: str
    equations: tuple[str, ...]
    answer: int

    @property
    def steps(self) -> int:
        """The number of operations: the difficulty."""
        return len(self.equations)


THEMES = (
    Theme(
        start=("{name} has {k} {item}.", "{name} starts with {k} {item}."),
        groups=("{name} has {a} boxes with {b} {item} each.", "{name} fills {a} bags with {b} {item} each."),
        add=("{name} buys {k} more.", "{friend} brings {k} more.", "{name} finds {k} more."),
        sub=("{name} gives {k} to {friend}.", "{name} loses {k}.", "{name} sells {k}."),
        mul=("Then {name} makes it {k} times as many.", "With help from {friend} it becomes {k} times as many."),
        div=("{name} shares them equally among {k} people and keeps one share.",),
        ask=("How many {item} does {name} have now?", "How many {item} are left for {name}?"),
    ),
    Theme(
        start=("A bus starts with {k} people.", "There are {k} people on a train."),
        groups=("There are {a} rows with {b} people in each.",),
        add=("At the next stop {k} people get on.", "Then {k} more people join."),
        sub=("At the next stop {k} people get off.", "Then {k} people leave."),
        mul=("Later there are {k} times as many people.",),
        div=("Only one in {k} of them stays.",),
        ask=("How many people are there in the end?", "How many people ride on?"),
    ),
    Theme(
        start=("{name} saves {k} euros.", "{name} has {k} euros in a jar."),
        groups=("{name} works {a} hours for {b} euros an hour.",),
        add=("{name} earns {k} euros.", "{friend} pays {name} {k} euros."),
        sub=("{name} spends {k} euros.", "A ticket costs {name} {k} euros."),
        mul=("Good luck makes it {k} times as much.",),
        div=("{name} splits the money equally {k} ways and takes one part.",),
        ask=("How much money does {name} have?", "How many euros are there now?"),
    ),
    Theme(
        start=("A tank holds {k} litres.", "{name} pours {k} litres into a tank."),
        groups=("{name} pours {a} buckets of {b} litres into a tank.",),
        add=("Rain adds {k} litres.", "{friend} adds {k} litres."),
        sub=("The plants need {k} litres.", "{k} litres leak out."),
        mul=("A storm makes it {k} times as much.",),
        div=("The water is shared equally by {k} gardens; look at one of them.",),
        ask=("How many litres is that?", "How many litres are there at the end?"),
    ),
    Theme(
        start=("Start with {k}.", "Take the number {k}."),
        groups=("Start with {a} times {b}.",),
        add=("Add {k}.",), sub=("Subtract {k}.", "Take away {k}."), mul=("Multiply by {k}.",), div=("Divide by {k}.",),
        ask=("What is the result?", "What number is it now?"),
    ),
)


def part_of(question: str) -> str:
    """The one part that a question belongs to: a hash of its text decides."""
    value = hashlib.blake2b(question.encode(), digest_size=1).digest()[0]
    return next(part for part, values in _SHARES.items() if value in values)


def make_problem(rng: random.Random, steps: int) -> Problem:
    """One problem with this many steps (1 or more) from the generator's state."""
    theme = rng.choice(THEMES)
    name, friend = rng.sample(NAMES, 2)
    words = {"name": name, "friend": friend, "item": rng.choice(ITEMS)}
    sentences, equations = [], []
    if rng.random() < 0.25:
        a, b = rng.randint(2, 9), rng.randint(2, 12)
        value = a * b
        sentences.append(rng.choice(theme.groups).format(a=a, b=b, **words))
        equations.append(f"{a}*{b}={value}")
    else:
        value = rng.randint(3, 60)
        sentences.append(rng.choice(theme.start).format(k=value, **words))
    while len(equations) < steps:
        kind, k, result = _operation(rng, value)
        sentences.append(rng.choice(getattr(theme, kind)).format(k=k, **words))
        equations.append(f"{value}{_SIGNS[kind]}{k}={result}")
        value = result
    ask = rng.choice(theme.ask).format(**words)
    return Problem(_lay_out(rng, sentences, ask), tuple(equations), value)


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _operation(rng: random.Random, value: int) -> tuple[str, int, int]:
    """A kind of step that keeps the value a whole number between 1 and the largest, its operand and its result."""
    kinds = ["add"] if value + 50 <= _LARGEST else []
    if value > 4:
        kinds.append("sub")
    if factors := [k for k in (2, 3, 4, 5) if value * k <= _LARGEST]:
        kinds.append("mul")
    if divisors := [k for k in (2, 3, 4, 5) if value % k == 0 and value > k]:
        kinds.append("div")
    kind = rng.choice(kinds)
    if kind == "add":
        k = rng.randint(2, 50)
        return kind, k, value + k
    if kind == "sub":
        k = rng.randint(2, min(value - 1, 60))
        return kind, k, value - k
    k = rng.choice(factors if kind == "mul" else divisors)
    return kind, k, value * k if kind == "mul" else value // k


def _lay_out(rng: random.Random, sentences: list[str], ask: str) -> str:
    layout = rng.random()
    if layout < 0.7:
        return " ".join([*sentences, ask])
    if layout < 0.85:
        return " ".join([ask, *sentences])
    return "\n".join([*(f"- {s}" for s in sentences), ask])


def make_problems(part: Part, count: int, seed: int, weights: dict[int, float] | None = None) -> list[Problem]:
    """`count` different problems of a part, the same ones for the same seed."""
    if part not in _SHARES:
        raise DatasetError(f"The demo data has no part {part!r}: choose one of {', '.join(_SHARES)}.")
    rng = random.Random(f"{part}-{seed}")
    shares = _SHARES[part]
    weights = weights or STEP_WEIGHTS
    levels, chances = list(weights), list(weights.values())
    seen: set[str] = set()
    problems: list[Problem] = []
    while len(problems) < count:
        problem = make_problem(rng, rng.choices(levels, chances)[0])
        question = problem.question
        inside = hashlib.blake2b(question.encode(), digest_size=1).digest()[0] in shares
        if inside and question not in seen:
            seen.add(question)
            problems.append(problem)
    return problems


def worked(rng: random.Random, problem: Problem) -> str:
    """The solution with every step shown, in one of three layouts."""
    layout = rng.randrange(3)
    if layout == 0:
        return "\n".join(problem.equations)
    if layout == 1:
        return ", ".join(problem.equations) + "."
    return " ".join(f"{'Then' if i else 'First'} {e}." for i, e in enumerate(problem.equations))


def demo_rows(part: Part, count: int, seed: int, hasty_share: float | None = None,
              weights: dict[int, float] | None = None) -> list[dict[str, str | int]]:
    """Rows with `question`, `reasoning`, `answer`, `steps` and `subject` ("2 steps"); no two parts share a question.

    Only the `sft` part has hasty rows; `hasty_share` overrides their share.
    """
    share = (HASTY_SHARE if part == "sft" else 0.0) if hasty_share is None else hasty_share
    rng = random.Random(f"rows-{part}-{seed}")
    rows = []
    for problem in make_problems(part, count, seed, weights):
        hasty = rng.random() < share
        reasoning = rng.choice(HASTY_NOTES) if hasty else worked(rng, problem)
        rows.append({
            "question": problem.question, "reasoning": reasoning, "answer": str(problem.answer),
            "steps": problem.steps, "subject": f"{problem.steps} step{'s' if problem.steps > 1 else ''}",
        })
    return rows

"""Mutants: a good completion damaged in known ways. A reward set that scores one as high as the original cannot teach
the difference; `gaps` finds those.
"""

from dataclasses import dataclass

from pipeline import tags
from pipeline.rewards.numbers import number
from pipeline.rewards.reward_set import RewardSet, Scores
from pipeline.tags import TagScheme


@dataclass(frozen=True)
class Mutant:
    """A damaged completion and what was done to it, in words."""

    name: str
    text: str


@dataclass(frozen=True)
class Bench:
    """A completion, its mutants, and the scores of both; row 0 is the original."""

    mutants: list[Mutant]
    scores: Scores

    @property
    def gaps(self) -> list[Mutant]:
        """The mutants whose total is as high as the original's."""
        totals = self.scores.totals
        return [mutant for mutant, total in zip(self.mutants[1:], totals[1:], strict=True)
                if total is not None and totals[0] is not None and total >= totals[0]]

    @property
    def sentences(self) -> list[str]:
        """What the set cannot tell apart, in words; empty when every mutant is caught."""
        if self.scores.totals[0] is None:
            return ["The original could not be scored, so nothing can be compared with it."]
        return [f"«{mutant.name}» scores as much as the original ({self.scores.totals[0]:+g}): no reward notices it."
                if self.scores.totals[self.mutants.index(mutant)] == self.scores.totals[0] else
                f"«{mutant.name}» scores more than the original." for mutant in self.gaps]


def wrong_answer(reference: str) -> str:
    """An answer of the same kind that is clearly wrong: another number, letter, or text."""
    found = number(reference)
    if found is not None:
        return str(int(abs(found.value)) * 3 + 7)
    letter = reference.strip("() .")
    if len(letter) == 1 and letter.isalpha():
        return "A" if letter.upper() == "B" else "B"
    return "something else" if reference.strip().lower() != "something else" else "nothing"


def mutants(scheme: TagScheme, completion: str, reference: str | None) -> list[Mutant]:
    """The original (first) and its mutants. Those that change nothing are left out."""
    parsed = tags.parse(scheme, completion)
    reasoning, answer = parsed.reasoning or "", parsed.answer or reference or ""
    if scheme.is_boxed:
        reasoning = completion.rsplit(scheme.answer_open, 1)[0].strip()
    wrong = wrong_answer(reference or answer)
    found = [Mutant("original", completion), *_tag_mutants(scheme, completion)]
    if scheme.reasoning_open:
        block = f"{scheme.answer_open}{answer}{scheme.answer_close}"
        found.append(Mutant("answer before the reasoning",
                            f"{block}\n{scheme.reasoning_open}\n{reasoning}\n{scheme.reasoning_close}"))
    spam = "".join(f"{scheme.answer_open}{guess}{scheme.answer_close}\n" for guess in [*_guesses(wrong), answer])
    found += [
        Mutant("wrong answer", tags.wrap(scheme, reasoning, wrong)),
        Mutant("right answer outside its tag", tags.wrap(scheme, f"{reasoning}\nThe answer is {answer}.", wrong)),
        Mutant("right answer after an empty tag", tags.wrap(scheme, reasoning, "") + f" {answer}"),
        Mutant("cut off", completion[: max(1, len(completion) * 2 // 3)]),
        Mutant("empty", ""),
        Mutant("answer spam", f"{tags.wrap(scheme, reasoning, wrong)}\n{spam}"),
        Mutant("answer alone, no tags", answer),
    ]
    seen: set[str] = set()
    return [m for m in found if not (m.text in seen or seen.add(m.text))]  # type: ignore[func-returns-value]


def bench(rewards: RewardSet, completion: str, reference: str | None, prompt: str) -> Bench:
    """Score a completion and its mutants as one group."""
    rows = mutants(rewards.scheme, completion, reference)
    scores = rewards.score([m.text for m in rows], [reference] * len(rows), [prompt] * len(rows),
                           truncated=[m.name == "cut off" for m in rows])
    return Bench(rows, scores)


def _tag_mutants(scheme: TagScheme, completion: str) -> list[Mutant]:
    out = []
    for tag in (scheme.answer_open,) if scheme.is_boxed else scheme.tags:
        if tag not in completion:
            continue
        out.append(Mutant(f"{tag} missing", completion.replace(tag, "", 1)))
        out.append(Mutant(f"{tag} doubled", completion.replace(tag, tag + tag, 1)))
        out.append(Mutant(f"{tag} misspelt", completion.replace(tag, _misspell(tag), 1)))
    return out


def _misspell(tag: str) -> str:
    """Two letters in the middle exchanged."""
    middle = len(tag) // 2
    return tag[: middle - 1] + tag[middle] + tag[middle - 1] + tag[middle + 1 :]


def _guesses(wrong: str) -> list[str]:
    found = number(wrong)
    return [wrong, *(str(int(found.value) + i) for i in range(1, 9))] if found is not None else [wrong] * 9

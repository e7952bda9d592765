"""The text that the bundled tiny model is pre-trained on: chats about word problems, sums and lists.

It shows angle brackets, several pairs of tags and many system prompts, but never the tags that SFT is to teach: a
frozen embedding cannot learn tokens that pre-training never showed, while a pair seen before would leave nothing to
teach. Half of the answers are given at once, the others with every step, whatever the system prompt says: the model
can do both and prefers neither for a reason.
"""

import random
import string

from pipeline.dataset.demo import HASTY_NOTES, ITEMS, NAMES, Problem, make_problems, worked

Message = dict[str, str]

DIRECT_SHARE = 0.5
"""Share of the problems that are answered without any work."""

TAG_NAMES = ("work", "result", "steps", "final", "notes", "value", "scratch", "total", "draft", "number", "way", "plan",
             "outcome", "method", "reply", "sum", "path", "end", "first", "last", "idea", "box", "left", "right")
"""Names of tags that the base knows; any two make a pair. None belongs to a scheme of `pipeline.tags`."""

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You answer questions about numbers.",
    "Solve the problem.",
    "Read the question and give the final answer.",
    "You are a patient teacher. Your reasoning is clear.",
    "Think about the question, then answer it.",
    "Give the answer to the question. The answer is a whole number.",
    "Use good reasoning and think step by step when it helps. Then give only what was asked.",
    "You get a short story with numbers in it. Work out what is asked.",
    "Be kind and correct.",
)
WORDS = ("reasoning", "answer", "think", "solution", "SOLUTION", "start", "end", "working", "out", "start_working_out",
         "end_working_out", "boxed", "first", "then", "final", "question", "story", "garden", "train", "ticket",
         "water", "money", "number", "letter", "red", "blue", "green", "small", "large", "old", "new", "yes")
"""Words to repeat and to list. A tag's words must be known as words: the pieces of a tiny frozen vocabulary that the
model never wrote all look alike to it, and then no adapter can tell them apart."""
_SYMBOLS = ("{", "}", "\\", "_", "/", "#", "*", "(", ")", "[", "]", "=", ":", "!", "?", "$")
_TAG_PROMPTS = (
    "Think step by step between <{0}> and </{0}>. Then give only the final answer between <{1}> and </{1}>.",
    "Put your work between <{0}> and </{0}>. Then give only the {1} between <{1}> and </{1}>.",
    "First write in <{0}></{0}>, then in <{1}></{1}>.",
    "Use <{0}> for the way and <{1}> for the outcome.",
    "You are a helpful assistant.",
)


def pretrain_chats(count: int, seed: int, direct_share: float = DIRECT_SHARE) -> list[list[Message]]:
    """`count` conversations: 45 % word problems, 25 % the same with tags, 15 % with labels, 15 % short exercises."""
    rng = random.Random(f"chats-{seed}")
    return [_chat(rng, problem, direct_share) for problem in make_problems("pretrain", count, seed)]


def _chat(rng: random.Random, problem: Problem, direct_share: float) -> list[Message]:
    kind = rng.random()
    if kind < 0.15:
        return _exercise(rng)
    direct = rng.random() < direct_share
    if kind < 0.40:
        return _tagged(rng, problem, direct)
    if kind < 0.55:
        return _labelled(rng, problem, direct)
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.75 else ""
    closing = rng.choice(("The answer is {}.", "So it is {}.", "{}", "Answer: {}")).format(problem.answer)
    if direct:
        start = f"{rng.choice(HASTY_NOTES)} " if rng.random() < 0.3 else ""
        return _messages(system, problem.question, start + closing)
    return _messages(system, problem.question, f"{worked(rng, problem)}\n{closing}")


def _tagged(rng: random.Random, problem: Problem, direct: bool) -> list[Message]:
    """An answer in tags. The tags that the system prompt names are drawn apart, so that none are copied from it."""
    way, outcome = rng.sample(TAG_NAMES, 2)
    system = rng.choice(_TAG_PROMPTS).format(*rng.sample(TAG_NAMES, 2))
    inner = rng.choice(HASTY_NOTES) if direct else worked(rng, problem)
    gap = rng.choice(("\n", "\n", ""))
    text = f"<{way}>{gap}{inner}{gap}</{way}>\n<{outcome}>{problem.answer}</{outcome}>"
    return _messages(system, problem.question, text)


def _labelled(rng: random.Random, problem: Problem, direct: bool) -> list[Message]:
    """Plain labels instead of tags: they teach the words `reasoning` and `answer` as pieces of their own."""
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.75 else ""
    inner = rng.choice(HASTY_NOTES) if direct else worked(rng, problem)
    gap = rng.choice(("\n", " "))
    return _messages(system, problem.question, f"reasoning:{gap}{inner}\nanswer:{gap}{problem.answer}")


def _exercise(rng: random.Random) -> list[Message]:
    """A sum, a comparison, words to repeat, or a list of words as marked-up text."""
    kind = rng.randrange(6)
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    if kind == 0:
        a, b = max(a, b), min(a, b)
        sign, result = rng.choice((("+", a + b), ("-", a - b)))
        return _messages("", f"What is {a}{sign}{b}?", f"{a}{sign}{b}={result}")
    if kind == 1:
        b = rng.randint(2, 5)
        sign, a, result = rng.choice((("*", a, a * b), ("/", a * b, a)))
        return _messages("", f"What is {a}{sign}{b}?", f"{a}{sign}{b}={result}")
    if kind == 2:
        word = "larger" if rng.random() < 0.5 else "smaller"
        result = max(a, b) if word == "larger" else min(a, b)
        return _messages("", f"Which number is {word}, {a} or {b}?", f"The {word} one is {result}.")
    words = rng.sample(rng.choice((NAMES, ITEMS, WORDS, WORDS)), 3)
    if kind == 3:
        return _repeat(rng, words)
    tag = rng.choice(("li", "b", "item", "td"))
    return _messages("", f"Write as a list: {', '.join(words)}.", "\n".join(f"<{tag}>{w}</{tag}>" for w in words))


def _repeat(rng: random.Random, words: list[str]) -> list[Message]:
    """Words, made-up words and symbols to say again, one a line or with spaces."""
    made_up = "".join(rng.choices(string.ascii_letters, k=rng.randint(1, 4)))
    said = rng.choice((" ", "\n")).join(rng.sample([*words, made_up, rng.choice(_SYMBOLS)], rng.randint(1, 5)))
    return _messages("", f"Repeat: {said}", said)


def _messages(system: str, user: str, assistant: str) -> list[Message]:
    start = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]

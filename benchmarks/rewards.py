"""How fast rewards score, what custom code costs, and how the answer check compares with TRL's accuracy_reward.

    python -m benchmarks.rewards [--out docs/results/rewards.json]

Speed is in completions of 500 characters per second of processor time on one core. The comparison takes the rows of
GSM8K and MATH-500 where REASONING_STUDIO_DATA has them, and a small sample of our own otherwise: each reference in
spellings that are right, and in answers that are wrong; a decision counts as right when it agrees.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY, RewardSet, answers
from pipeline.rewards.custom import TEMPLATE, Custom, CustomReward
from pipeline.rewards.math_process import SHARED
from pipeline.rewards.numbers import canonical, number
from pipeline.rewards.presets import PRESETS
from pipeline.rewards.reward_set import Item
from pipeline.tags import SCHEMES, wrap

SCHEME = SCHEMES["reasoning"]
SENTENCES = ("The shop sells 12 boxes with 4 pens each. ", "First we multiply and then we add what is left over. ",
             "So 12 x 4 = 48, and 48 + 7 = 55. ", "Each of them costs $3, which makes 165 in all. ")
REGEX = r"""
import re
def score(completion, reference, prompt):
    found = re.findall(r"<answer>(.*?)</answer>", completion)
    return 1.0 if found and found[-1].strip() == reference else 0.0
"""
OWN = ["18", "70000", "1,450", "5.25", "-7", r"\frac{1}{2}", r"\{1, 2\}", "(3, 4)", r"2\sqrt{3}", "x^2+1", "[0, 1)"]

SAME = [(r"\{2,1\}", r"\{1,2\}"), ("(1, 2)", "(1,2)"), ("[0, 1)", "[0,1)"), ("y = 1+2x", "y=2x+1"), ("2^3", "8"),
        (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{3}}{3}"), ("4i+3", "3+4i"), ("(x-1)(x+1)", "x^2-1"), ("10^3", "1000"),
        (r"\frac{\pi}{2}", r"\pi/2"), (r"\sqrt{8}", r"2\sqrt{2}"), (r"\frac{6}{4}", "1.5"), (r"50\%", "0.5"),
        (r"x \in [0, 1)", "[0,1)"), ("x=3", "3"), (r"3\cdot 10^4", "30000"),
        ("-(x+1)", "-x-1"), (r"\frac{-1}{2}", "-0.5")]
OTHER = [("(2,1)", "(1,2)"), ("[0,1]", "[0,1)"), ("y=2x-1", "y=2x+1"), ("2^4", "8"), ("3-4i", "3+4i"),
         ("x^2+1", "x^2-1"),
         (r"\sqrt{3}", r"2\sqrt{2}"), (r"\{1,2,3\}", r"\{1,2\}"), ("x=4", "3"), (r"\pi", r"\pi/2"), ("5, 6", "5"),
         (r"5 \text{ or } 6", "5"), ("1=2", "2"), ("12,13", "1213"), (r"\frac{1}{3}", "0.33"), ("5x", "5")]


def completions(count: int, seed: int = 1) -> tuple[list[str], list[str]]:
    """Texts of 500 characters as a model in training writes them (20 % badly formed, 40 % right), and references."""
    rng = random.Random(seed)
    texts, references = [], []
    for _ in range(count):
        reference, draw = str(rng.randint(1, 9999)), rng.random()
        other = f"${reference}.00" if rng.random() < 0.1 else str(rng.randint(1, 9999))
        given = reference if rng.random() < 0.4 else other
        body = "".join(rng.choice(SENTENCES) for _ in range(12))
        text = wrap(SCHEME, body[: 500 - len(wrap(SCHEME, "", given))], given)
        texts.append(text if draw > 0.2 else text.replace("</answer>", "") if draw > 0.1 else text[:250])
        references.append(reference)
    return texts, references


def per_second(step: RewardsStep, texts: list[str], references: list[str], repeats: int = 3) -> float:
    """Completions scored per second of processor time; the best of some repeats, caches emptied before each."""
    best = 0.0
    with RewardSet(step, SCHEME) as rewards:
        for _ in range(repeats):
            number.cache_clear()
            canonical.cache_clear()
            started = time.process_time()
            rewards.score(texts, references, ["How many?"] * len(texts))
            best = max(best, len(texts) / (time.process_time() - started))
    return best


def speeds() -> dict[str, Any]:
    """The preset, then each reward alone."""
    texts, references = completions(20_000)
    asked = SHARED.asked
    found = {"preset seed": per_second(PRESETS["seed"].step, texts, references)}
    share = (SHARED.asked - asked) / (3 * len(texts))
    for kind in LIBRARY:
        if kind != "custom":
            step = RewardsStep(functions=[RewardSpec(kind=kind)])
            found[kind] = per_second(step, texts[:5000], references[:5000], 2)
    return {"per_second": {k: round(v) for k, v in found.items()}, "mathverify_share": share,
            "mean_characters": statistics.fmean(map(len, texts))}


def custom_code() -> dict[str, float]:
    """Milliseconds per batch of 64: median and best of 50 batches."""
    texts, references = completions(64)
    items = [Item(t, r, "How many?", SCHEME) for t, r in zip(texts, references, strict=True)]
    out = {}
    for name, code in (("regex", REGEX), ("template", TEMPLATE)):
        reward = CustomReward(code, Custom())
        reward.score(items)
        times = []
        for _ in range(50):
            started = time.perf_counter()
            reward.score(items)
            times.append(1000 * (time.perf_counter() - started))
        out |= {f"{name} median": statistics.median(times), f"{name} best": min(times)}
    return out


def cases(limit: int) -> Iterator[tuple[str, str, str, bool]]:
    """(source, answer as written, reference, whether it is right)."""
    yield from (("expressions", given, reference, True) for given, reference in SAME)
    yield from (("expressions", given, reference, False) for given, reference in OTHER)
    folder = Path(os.environ.get("REASONING_STUDIO_DATA", "/nonexistent"))
    if not folder.is_dir():
        for i, reference in enumerate(OWN):
            yield from _spelt("own sample", reference, OWN[i - 1])
        return
    lines = (folder / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
    references = [json.loads(line)["answer"].rsplit("#### ", 1)[1].strip() for line in lines]
    for i, reference in enumerate(references):
        yield from _spelt("GSM8K", reference, references[i - 1])
    rows = [json.loads(line)["answer"] for line in (folder / "math500.jsonl").read_text(encoding="utf-8").splitlines()]
    for i, reference in enumerate(rows[:limit]):
        spelt = reference.replace(r"\frac", r"\dfrac").replace(r"\left", "").replace(r"\right", "")
        yield "MATH-500", reference, reference, True
        yield "MATH-500", spelt, reference, True
        if answers.settle(rows[i - 1], reference) is False:
            yield "MATH-500", rows[i - 1], reference, False


def _spelt(source: str, reference: str, other: str) -> Iterator[tuple[str, str, str, bool]]:
    found = number(reference)
    if found is None:
        yield source, reference, reference, True
        yield source, other, reference, False
        return
    plain = reference.replace(",", "")
    right = [reference, plain, rf"\${reference}", rf"{plain}\text{{ dollars}}", plain if "." in plain else f"{plain}.0"]
    wrong = [str(found.value + 1), str(found.value - 1), f"{plain}0", rf"\text{{not }} {plain}",
             f"{plain}, {found.value + 1}"]
    yield from ((source, text, reference, True) for text in right)
    yield from ((source, text, reference, False) for text in wrong)


def against_trl(limit: int) -> dict[str, Any]:
    """Both checks on the same completions, each with the answer in a box after some text."""
    from trl.rewards import accuracy_reward

    rows = list(cases(limit))
    texts = [wrap(SCHEMES["boxed"], SENTENCES[0] * 6, given) for _, given, _, _ in rows]
    references = [reference for _, _, reference, _ in rows]
    answers.same_answer("2^3", "8")
    SHARED.asked = 0

    def ours() -> list[float | None]:
        with RewardSet(PRESETS["r1"].step, SCHEMES["boxed"]) as rewards:
            return rewards.score(texts, references, [""] * len(texts)).raw["accuracy"]

    def theirs() -> list[float | None]:
        wrapped = [[{"role": "assistant", "content": text}] for text in texts]
        return accuracy_reward(wrapped, [f"${reference}$" for reference in references])

    out: dict[str, Any] = {"rows": len(rows)}
    for name, check in (("ours", ours), ("trl accuracy_reward", theirs)):
        seconds, processor, got = timed(check)
        out[name] = {"seconds": seconds, "processor_seconds": processor, "rows_per_second": len(rows) / seconds}
        for source in dict.fromkeys(row[0] for row in rows):
            judged = [(value == 1.0, row[3]) for value, row in zip(got, rows, strict=True) if row[0] == source]
            out[name][source] = {
                "n": len(judged), "agree": sum(a == b for a, b in judged),
                "right refused": sum(b and not a for a, b in judged),
                "wrong accepted": sum(a and not b for a, b in judged)}
    out["ours"]["mathverify_share"] = SHARED.asked / len(rows)
    return out


HOSTILE = ("9^{9^{9^9}}", "x^" * 100 + "2", r"\sum_{n=1}^{1000000} 1/n", "1+" * 190 + "1", "((((1))))" * 30,
           r"\binom{10^9}{5*10^8}", "10^{10^{10}}", "(" * 390, "9^{99999999999}", r"\frac{1}{" * 40, "{" * 100_000,
           r"\boxed{" * 5000, "1 " * 50_000, r"\text{" * 20_000, "-" * 100_000)


def deadlines(rounds: int = 3) -> dict[str, float]:
    """The slowest of hostile answers, in seconds of wall-clock time, and what an ordinary comparison takes."""
    answers.compare("1+2", "3")
    slowest = {"settled cheaply": 0.0, "with math-verify": 0.0}
    before = SHARED.timeouts
    for _ in range(rounds):
        for given in HOSTILE:
            for reference in ("7", "x+7"):
                kind = "settled cheaply" if answers.settle(given, reference) is not None else "with math-verify"
                answers._remembered.cache_clear()
                started = time.perf_counter()
                answers.compare(given, reference)
                slowest[kind] = max(slowest[kind], time.perf_counter() - started)
    ended, times = SHARED.timeouts - before, []
    for i in range(200):
        started = time.perf_counter()
        answers.compare(f"2^{{{i}}}+x", f"x+2^{{{i}}}")
        times.append(time.perf_counter() - started)
    return {**slowest, "ended": ended, "ordinary median": statistics.median(times), "ordinary slowest": max(times)}


def timed(check: Callable[[], list[float | None]]) -> tuple[float, float, list[float | None]]:
    """Wall seconds, processor seconds (children included), and what came out."""
    before, started = _processor(), time.perf_counter()
    got = check()
    return time.perf_counter() - started, _processor() - before, got


def _processor() -> float:
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (me, *me.children(recursive=True)))


def main() -> None:
    """Measure, print, and write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="references of each set in the comparison")
    options = parser.parse_args()
    found = {"python": platform.python_version(), "processor": platform.processor() or platform.machine(),
             "cores": os.cpu_count(), "load": os.getloadavg()[0], "speed": speeds(),
             "custom_ms_per_64": custom_code(), "deadline_seconds": deadlines(),
             "comparison": against_trl(options.limit)}
    print(as_text(found))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def as_text(found: dict[str, Any]) -> str:
    """The numbers as Markdown tables."""
    speed, lines = found["speed"], ["| reward | completions per second |", "|---|---|"]
    lines += [f"| {name} | {value:,} |" for name, value in speed["per_second"].items()]
    lines += ["", f"math-verify was asked for {speed['mathverify_share']:.2%} of the preset's completions.", ""]
    lines += ["| custom code | ms per batch of 64 |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in found["custom_ms_per_64"].items()]
    late = found["deadline_seconds"]
    lines += ["", "| hostile answers | slowest, s |", "|---|---|"]
    lines += [f"| {name} | {late[name]:.3f} |" for name in ("settled cheaply", "with math-verify")]
    ordinary, slow = 1000 * late["ordinary median"], 1000 * late["ordinary slowest"]
    lines += ["", f"{late['ended']} comparisons were ended; an ordinary one takes {ordinary:.0f} ms (median of 200; "
                  f"{slow:.0f} ms at most)."]
    both = found["comparison"]
    sources = [k for k, v in both["ours"].items() if isinstance(v, dict)]
    lines += ["", "| check | rows/s | processor s | " + " | ".join(
        f"{s}: agree, right refused, wrong accepted" for s in sources) + " |", "|---" * (3 + len(sources)) + "|"]
    for name in ("ours", "trl accuracy_reward"):
        row = both[name]
        cells = [f"{row[s]['agree']} of {row[s]['n']}, {row[s]['right refused']}, {row[s]['wrong accepted']}"
                 for s in sources]
        speed = f"{row['rows_per_second']:.0f} | {row['processor_seconds']:.1f}"
        lines.append(f"| {name} | {speed} | {' | '.join(cells)} |")
    lines.append(f"\nmath-verify was asked for {both['ours']['mathverify_share']:.0%} of ours.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

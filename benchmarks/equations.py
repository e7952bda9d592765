"""How true the equations in written solutions are, and what the groups of a GRPO run had to learn from.

    python -m benchmarks.equations RUN_FOLDER
    python -m benchmarks.equations solutions.jsonl     # as GSM8K has them: the key `answer`, `<<…>>` left out

Of a run: for every model and precision that answered the test, the equations of numbers in its reasoning and how many
are false, and the right answers that hold a false one; for GRPO the sampled answers that were right, by halves of the
steps, and the groups without a right one. What an equation is, and whether it holds, says the reward `arithmetic`.
"""

import json
import re
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline import tags
from pipeline.recipe import Recipe
from pipeline.rewards.arithmetic import equations, holds

ANSWERS = """SELECT CASE precision WHEN '16bit' THEN model ELSE model || '@' || precision END, completion, exact FROM (
    SELECT *, COALESCE(json_extract(settings, '$.precision'), '16bit') AS precision FROM evaluations
    WHERE benchmark = (SELECT benchmark FROM evaluations ORDER BY benchmark != 'test', id LIMIT 1))"""
NOTES = re.compile(r"<<[^>]*>>")


def main(source: Path) -> dict[str, Any]:
    """Print what was found in a run folder or a file of solutions, as JSON."""
    found = of_solutions(source) if source.suffix == ".jsonl" else of_run(source)
    print(json.dumps(found, indent=1))
    return found


def of_solutions(file: Path) -> dict[str, int]:
    """Equations and false ones in human solutions."""
    counts = [judged(NOTES.sub("", json.loads(line)["answer"])) for line in file.read_text().splitlines()]
    return {"solutions": len(counts), "equations": sum(n for n, _ in counts), "false": sum(f for _, f in counts)}


def of_run(folder: Path) -> dict[str, Any]:
    """See the top; of the records alone, nothing is changed."""
    scheme = tags.scheme_of(Recipe.from_yaml((folder / "recipe.yaml").read_text()).data.tags)
    with closing(sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)) as records:
        models: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for model, text, right in records.execute(ANSWERS):
            count, false = judged(tags.parse(scheme, text).reasoning or "")
            for name, value in (("answers", 1), ("equations", count), ("false", false), ("right", right or 0),
                                ("right_with_a_false_one", int(bool(right and false)))):
                models[model][name] += value
        steps = records.execute("SELECT step, right, size FROM groups WHERE stage = 'grpo' AND right IS NOT NULL "
                                "ORDER BY step").fetchall()
    half = (steps[-1][0] if steps else 0) / 2
    halves = [[(right, size) for step, right, size in steps if (step > half) == late] for late in (False, True)]
    return {"models": models, "groups": len(steps), "groups_without_a_right_one": sum(not r for _, r, _ in steps),
            "groups_half_right_or_more": sum(2 * r >= s for _, r, s in steps),
            "right_share_by_halves": [sum(r for r, _ in part) / max(1, sum(s for _, s in part)) for part in halves]}


def judged(text: str) -> tuple[int, int]:
    """The number of equations of numbers, and of those that are false by the reward's default tolerance."""
    found = [holds(value, results, step) for _, value, results, step in equations(text)]
    return len(found), found.count(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Is an exported model still the model that was trained? Compared on token ids, logits and greedy answers.

Runs where torch may be imported: in a worker, or as `python -m pipeline.merge_check` in a process of its own on the
CPU (`run_check`), which the app and the command line start. All comparisons are in float32.

- Merge: the 16-bit folder, reloaded by plain transformers, against base + adapter. bfloat16 keeps 8 bits of each
  weight, so logits move a little: the mean difference must stay below `MEAN_TOLERANCE` of their spread, and of 100
  greedy answers at least 97 must extract to the same text. An adapter that was trained on an 8- or 4-bit base has never
  met the 16-bit weights that it is merged into: its answers may differ, so the difference in right answers is given
  with its paired interval instead, and the check fails when the merged model is certainly worse.
- GGUF: the file, read back by transformers, against the folder: token ids equal, and the same tolerance.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import EngineError
from pipeline.statistics import bootstrap_mean

if TYPE_CHECKING:
    from pipeline.recipe import Recipe
    from pipeline.run_folder import RunFolder

MEAN_TOLERANCE = 0.02  # mean |difference| of the logits, as a share of their standard deviation
EQUAL_NEEDED = 0.97
CHECKED_PROMPTS = 16  # prompts whose logits are compared
SAMPLES = ("Tom has 12 apples. He buys 345 more.", "x = 3.14 (about π)\n\n- first\n- second",
           "Émile said: “¿Qué?” 你好 🙂", "<reasoning>\n1 + 1 = 2\n</reasoning>\n<answer>2</answer>")


@dataclass(frozen=True)
class Check:
    """The outcome of a check, in numbers and in words."""

    what: str
    passed: bool
    logit_difference: float  # mean, as a share of the standard deviation of the logits
    largest_difference: float
    same_top: float  # share of positions with the same likeliest token
    ids_equal: bool | None = None
    answers_equal: int | None = None
    answers: int | None = None
    trained_on: str = "16bit"  # the precision of the base while the adapter was trained
    difference: float | None = None  # of the shares of right answers, merged minus as trained; with its 95 % interval
    low: float | None = None
    high: float | None = None

    @property
    def sentence(self) -> str:
        """For people."""
        parts = [f"logits differ by {100 * self.logit_difference:.2f} % of their spread on average (at most "
                 f"{100 * MEAN_TOLERANCE:.0f} % allowed)", f"{100 * self.same_top:.1f} % of the likeliest tokens agree"]
        if self.ids_equal is not None:
            parts.insert(0, "token ids are equal" if self.ids_equal else "TOKEN IDS DIFFER")
        if self.answers is not None:
            parts.append(f"{self.answers_equal} of {self.answers} greedy answers are equal")
        if self.difference is not None and self.low is not None and self.high is not None:
            base = self.trained_on.replace("bit", "-bit")
            parts.append(f"against the adapter on the {base} base that it was trained on, the merged model answers "
                         f"{100 * self.difference:+.1f} points of the questions rightly (95 % interval "
                         f"{100 * self.low:+.1f} to {100 * self.high:+.1f})")
        return f"{self.what} {'passed' if self.passed else 'FAILED'} its check: {'; '.join(parts)}."


def check_gguf(folder: Path, file: Path, texts: Sequence[str] = SAMPLES) -> Check:
    """Read a GGUF file back through transformers and compare it with the folder it was made from."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    again = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    equal = prompts == [again(text)["input_ids"] for text in texts]
    one = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    two = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    mean, largest, top = _compare(one, two, prompts)
    return Check(file.name, equal and mean <= MEAN_TOLERANCE, mean, largest, top, ids_equal=equal)


@dataclass(frozen=True)
class Answers:
    """Greedy answers to the same questions by the adapter on its base and by the merged model."""

    trained_on: str
    as_trained: list[tuple[str | None, bool]]  # extracted answer, and whether it is right
    merged: list[tuple[str | None, bool]]

    @property
    def equal(self) -> int:
        """How many extract to the same text."""
        return sum(x == y for (x, _), (y, _) in zip(self.as_trained, self.merged, strict=True))

    def difference(self) -> tuple[float, float, float]:
        """Right answers of the merged model minus those as trained, as a share, and the paired 95 % interval."""
        d = [int(y) - int(x) for (_, x), (_, y) in zip(self.as_trained, self.merged, strict=True)]
        return (sum(d) / len(d), *bootstrap_mean(d)) if d else (0.0, 0.0, 0.0)


def check_merge(base: str | Path, adapter: Path, merged: Path, prompts: Sequence[list[int]],
                answers: Answers | None = None) -> Check:
    """Reload a merged folder and compare it with base + adapter in float32, and their greedy answers where given."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    where = "cuda" if torch.cuda.is_available() else "cpu"
    one = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    one = PeftModel.from_pretrained(one, adapter).eval()
    two = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    try:
        numbers = _compare(one.to(where), two.to(where), prompts[:CHECKED_PROMPTS])
    except torch.OutOfMemoryError:  # the GPU has no room for two models in 32 bits
        numbers = _compare(one.to("cpu"), two.to("cpu"), prompts[:CHECKED_PROMPTS])
    return judged(numbers, answers)


def judged(numbers: tuple[float, float, float], answers: Answers | None) -> Check:
    """The outcome of a merge check from the logits' mean, largest difference and equal tops, and the answers."""
    fine, what = numbers[0] <= MEAN_TOLERANCE, "The merged model"
    if answers is None:
        return Check(what, fine, *numbers)
    if answers.trained_on == "16bit":
        fine &= answers.equal >= EQUAL_NEEDED * len(answers.merged)
        return Check(what, fine, *numbers, answers_equal=answers.equal, answers=len(answers.merged))
    difference, low, high = answers.difference()
    return Check(what, fine and high >= 0, *numbers, answers_equal=answers.equal, answers=len(answers.merged),
                 trained_on=answers.trained_on, difference=difference, low=low, high=high)


def _compare(one: Any, two: Any, prompts: Sequence[list[int]]) -> tuple[float, float, float]:
    """Mean difference relative to the spread, largest difference, share of equal likeliest tokens."""
    import torch

    differences, spread, same, positions, largest = 0.0, 0.0, 0, 0, 0.0
    with torch.inference_mode():
        for ids in prompts:
            x = one(torch.tensor([ids], device=one.device)).logits[0].float()  # (T, V)
            y = two(torch.tensor([ids], device=two.device)).logits[0].float()
            delta = (x - y).abs()
            largest = max(largest, float(delta.max()))
            differences += float(delta.mean()) * len(ids)
            spread += float(x.std()) * len(ids)
            same += int((x.argmax(-1) == y.argmax(-1)).sum())
            positions += len(ids)
    return differences / spread, largest, same / positions


def check_run(folder: Path, stage: str, questions: int = 100) -> Check:
    """The merge of one stage of a run, with greedy answers to its test questions by adapter and by merged model."""
    from pipeline.run import Run
    from pipeline.run_folder import RunFolder

    run_folder = RunFolder(folder)
    recipe = run_folder.recipe()
    base = Run(run_folder, recipe, None).model_before(stage)  # type: ignore[arg-type]  # nothing is written
    prompts, answers = greedy_answers(run_folder, recipe, base, stage, questions)
    return check_merge(base, run_folder.adapter(stage), run_folder.model(stage), prompts, answers)


def greedy_answers(folder: "RunFolder", recipe: "Recipe", base: str, stage: str, questions: int = 100
                   ) -> tuple[list[list[int]], Answers]:
    """The first test questions as prompts, answered by the adapter on its base as trained, and by the merged model."""
    from pipeline.dataset.chat import ChatTokenizer, prompt_ids
    from pipeline.dataset.part_files import read_part
    from pipeline.engines.base import Sampling
    from pipeline.engines.sampling import TransformersGenerator
    from pipeline.rewards.answers import last_number, same_answer
    from pipeline.tags import extract, scheme_of

    merged, scheme = folder.model(stage), scheme_of(recipe.data.tags)
    chat = ChatTokenizer.load(str(merged), template=recipe.model.chat_template)
    rows = read_part(folder.data("test"))[:questions]
    prompts = [prompt_ids(chat, row) for row in rows]
    sampling = Sampling(max_completion_tokens=recipe.grpo.max_completion_tokens, batch_size=50)
    level = recipe.model.precision if recipe.model.precision in ("8bit", "4bit") else "16bit"
    found = []
    for model, adapter, precision in ((base, folder.adapter(stage), level), (str(merged), None, "16bit")):
        with TransformersGenerator(model, recipe.model, adapter, precision) as generator:
            texts = [samples[0].text for samples in generator.generate(prompts, sampling)]
        found.append([(extract(scheme, text) or last_number(text), same_answer(extract(scheme, text), row["reference"]))
                      for text, row in zip(texts, rows, strict=True)])
    return prompts, Answers(level, *found)


def run_check(*arguments: str, timeout_seconds: float = 1800) -> Check:
    """Do a check in a process of its own on the CPU: ("gguf", folder, file) or ("merge", run folder, stage)."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    try:
        done = subprocess.run([sys.executable, "-m", "pipeline.merge_check", *arguments], env=env, text=True,
                              capture_output=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"The check took longer than {timeout_seconds / 60:.0f} minutes and was ended.") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise EngineError(f"The check could not be done: {last[:300]}")
    return Check(**json.loads(lines[-1]))


def main(arguments: list[str]) -> int:
    """`gguf FOLDER FILE` or `merge RUN_FOLDER STAGE`: prints the check as one line of JSON."""
    kind, first, second = arguments
    check = check_gguf(Path(first), Path(second)) if kind == "gguf" else check_run(Path(first), second)
    print(json.dumps(asdict(check)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Is an exported model still the model that was trained? Compared on token ids, logits and greedy answers.

Runs where torch may be imported: in a worker, or as `python -m pipeline.merge_check` in a process of its own on the
CPU (`run_check`), which the app and the command line start. All comparisons are in float32.

- Merge: the 16-bit folder, reloaded by plain transformers, against base + adapter. bfloat16 keeps 8 bits of each
  weight, so logits move a little: the mean difference must stay below `MEAN_TOLERANCE` of their spread, and of 100
  greedy answers at least 97 must extract to the same text.
- GGUF: the file, read back by transformers, against the folder: token ids equal, and the same tolerance.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError

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

    @property
    def sentence(self) -> str:
        """For people."""
        parts = [f"logits differ by {100 * self.logit_difference:.2f} % of their spread on average (at most "
                 f"{100 * MEAN_TOLERANCE:.0f} % allowed)", f"{100 * self.same_top:.1f} % of the likeliest tokens agree"]
        if self.ids_equal is not None:
            parts.insert(0, "token ids are equal" if self.ids_equal else "TOKEN IDS DIFFER")
        if self.answers is not None:
            parts.append(f"{self.answers_equal} of {self.answers} greedy answers are equal")
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


def check_merge(base: str | Path, adapter: Path, merged: Path, prompts: Sequence[list[int]],
                answers: tuple[int, int] | None = None) -> Check:
    """Reload a merged folder and compare it with base + adapter in float32; `answers` are (equal, asked) if known."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    where = "cuda" if torch.cuda.is_available() else "cpu"
    one = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    one = PeftModel.from_pretrained(one, adapter).eval().to(where)
    two = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval().to(where)
    mean, largest, top = _compare(one, two, prompts[:CHECKED_PROMPTS])
    passed = mean <= MEAN_TOLERANCE and (answers is None or answers[0] >= EQUAL_NEEDED * answers[1])
    equal, asked = answers or (None, None)
    return Check("The merged model", passed, mean, largest, top, answers_equal=equal, answers=asked)


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
    from pipeline.dataset.chat import ChatTokenizer, prompt_ids
    from pipeline.dataset.prepare import read_part
    from pipeline.engines.base import Sampling
    from pipeline.engines.sampling import TransformersGenerator
    from pipeline.rewards.answers import last_number
    from pipeline.run import Run
    from pipeline.run_folder import RunFolder
    from pipeline.tags import extract, scheme_of

    run_folder = RunFolder(folder)
    recipe = run_folder.recipe()
    base = Run(run_folder, recipe, None).model_before(stage)  # type: ignore[arg-type]  # nothing is written
    merged, adapter = run_folder.model(stage), run_folder.adapter(stage)
    chat, scheme = ChatTokenizer.load(str(merged)), scheme_of(recipe.data.tags)
    prompts = [prompt_ids(chat, row) for row in read_part(run_folder.data("test"))[:questions]]
    sampling = Sampling(max_completion_tokens=recipe.grpo.max_completion_tokens, batch_size=50)
    texts = []
    for model, on_it in ((base, adapter), (str(merged), None)):
        with TransformersGenerator(model, recipe.model, on_it) as generator:
            answers = [samples[0].text for samples in generator.generate(prompts, sampling)]
        texts.append([extract(scheme, text) or last_number(text) for text in answers])
    equal = sum(x == y for x, y in zip(*texts, strict=True))
    return check_merge(base, adapter, merged, prompts, (equal, len(prompts)))


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

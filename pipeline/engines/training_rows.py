"""What the trainers are fed: the run's prepared parts as token ids for SFT and as prompts for GRPO."""

from datasets import Dataset

from pipeline.dataset.chat import ChatTokenizer, prompt_messages, tokenise
from pipeline.dataset.part_files import read_part
from pipeline.errors import DatasetError
from pipeline.run import Run


def sft_examples(run: Run, chat: ChatTokenizer, part: str) -> list[dict[str, list[int]]]:
    """`input_ids`, `labels` and `attention_mask` of every row with a worked solution. Raises DatasetError for none."""
    rows = [row for row in read_part(run.folder.data(part)) if row["completion"]]
    examples = []
    for row in rows:
        done = tokenise(chat, row)
        if len(done.input_ids) <= run.recipe.model.max_length:
            examples.append({"input_ids": done.input_ids, "labels": done.labels,
                             "attention_mask": [1] * len(done.input_ids)})
    if not examples and part == "sft":
        raise DatasetError("No row with a worked solution is left for SFT: lower the limits on length, map a reasoning "
                           "column, or switch SFT off.")
    return examples


def grpo_rows(run: Run, part: str) -> Dataset:
    """Columns prompt (messages), question and reference; only rows whose answer is known."""
    rows = [{"prompt": prompt_messages(row), "question": row["question"], "reference": row["reference"]}
            for row in read_part(run.folder.data(part)) if row["reference"] is not None]
    if not rows:
        raise DatasetError(f"No row with a known answer is left for the {part} part: map an answer column or choose "
                           "how the answer is found in the Data tab.")
    return Dataset.from_list(rows)


def validation_rows(run: Run) -> Dataset | None:
    """The first questions of the validation part, when held-out scoring is on."""
    if run.recipe.grpo.eval_every == 0:
        return None
    rows = grpo_rows(run, "validation")
    return rows.select(range(min(run.recipe.grpo.eval_rows, len(rows))))

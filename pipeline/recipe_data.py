"""What all steps of a recipe have in common, and the data step: where questions come from and what becomes of them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ADVANCED = {"advanced": True}  # json_schema_extra of settings that the form shows only under "Advanced"


class Step(BaseModel):
    """Base of all steps: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Tags(Step):
    """A tag scheme by name, or `custom` with its own four tags."""

    scheme: Literal["reasoning", "think", "solution", "boxed", "custom"] = Field("reasoning", title="Tags",
        description="How the model is taught to mark its reasoning and its answer.")
    reasoning_open: str = Field("", title="Reasoning opens with", max_length=50, json_schema_extra=ADVANCED,
        description="Only for custom tags.")
    reasoning_close: str = Field("", title="Reasoning closes with", max_length=50, json_schema_extra=ADVANCED,
        description="Only for custom tags.")
    answer_open: str = Field("", title="Answer opens with", max_length=50, json_schema_extra=ADVANCED,
        description="Only for custom tags.")
    answer_close: str = Field("", title="Answer closes with", max_length=50, json_schema_extra=ADVANCED,
        description="Only for custom tags.")


class Split(Step):
    """How many questions each part gets; below 1 it is a share of the usable rows. No question is in two parts."""

    sft: float = Field(0.3, title="SFT part", ge=0, description="Questions with worked solutions to imitate.")
    grpo: float = Field(0.5, title="GRPO part", ge=0, description="Questions to practise on; only the answer is used.")
    validation: float = Field(0.1, title="Validation part", ge=0, description="For curves and choosing checkpoints.")
    test: float = Field(0.1, title="Test part", ge=0, description="Held out; scored when training is finished.")


AnswerRule = Literal["auto", "column", "hash", "boxed", "tag", "last_number"]


class DataStep(Step):
    """Where the questions come from, and how rows become tagged training examples."""

    source: str = Field("demo", title="Dataset", min_length=1, max_length=1000,
        description="demo, gsm8k, limo or another built-in name, a file on this machine, or a Hugging Face dataset id.")
    config: str | None = Field(None, title="Configuration", max_length=200, json_schema_extra=ADVANCED,
        description="Named variant of a Hub dataset, such as main.")
    source_split: str | None = Field(None, title="Split on the Hub", max_length=100, json_schema_extra=ADVANCED,
        description="Which split of a Hub dataset to train on. Empty takes train.")
    revision: str | None = Field(None, title="Revision", max_length=200, json_schema_extra=ADVANCED,
        description="Branch, tag or commit of a Hub dataset.")
    test_source: str | None = Field(None, title="Separate test data", max_length=1000, json_schema_extra=ADVANCED,
        description="A file or Hub id used as the test part instead of a share of the rows.")
    question: str | None = Field(None, title="Question column", max_length=200,
        description="Empty guesses it from the names and the contents.")
    reasoning: str | None = Field(None, title="Reasoning column", max_length=200,
        description="The worked solution. Empty guesses it.")
    answer: str | None = Field(None, title="Answer column", max_length=200,
        description="Where the final answer is found. Empty guesses it.")
    system: str | None = Field(None, title="System prompt column", max_length=200, json_schema_extra=ADVANCED,
        description="Only when each row brings its own system prompt.")
    answer_rule: AnswerRule = Field("auto", title="How the answer is found",
        description="column takes it as it is; hash the text after ####; boxed the content of \\boxed{}.")
    tags: Tags = Field(default_factory=Tags, title="Tags", description="How reasoning and answer are marked.")
    system_prompt: str | None = Field(None, title="System prompt", max_length=20000,
        description="Empty writes one from the tags.")
    split: Split = Field(default_factory=Split, title="Split", description="How the rows are shared out.")
    limit: int | None = Field(None, title="At most this many rows", ge=1, json_schema_extra=ADVANCED,
        description="A random choice of this many rows. Empty takes all.")
    drop_duplicates: bool = Field(True, title="Drop repeated questions", json_schema_extra=ADVANCED,
        description="Keeps the first of several equal questions.")
    grpo_longest: int | None = Field(None, title="Longest solution for GRPO (tokens)", ge=1, le=131072,
        description="GRPO practises only on questions whose worked solution is at most this long: a small model learns "
        "from what it sometimes gets right. Empty takes all.")

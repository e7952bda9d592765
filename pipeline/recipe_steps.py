"""The steps of a recipe, one pydantic model each, with every setting's label, help, bounds and default.

Here and in `recipe_data` every setting is declared, and nowhere else: the form, the YAML file, the command line and the
checks read them from here.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.recipe_data import ADVANCED, Step


class ModelStep(Step):
    """Which model is trained, and how it is loaded."""

    source: str = Field("tiny", title="Model", min_length=1, max_length=500,
        description="`tiny` for the bundled model, a folder on this machine, or a Hugging Face id such as owner/name.")
    revision: str | None = Field(None, title="Revision", max_length=200, json_schema_extra=ADVANCED,
        description="Branch, tag or commit on the Hub. Empty takes the newest.")
    precision: Literal["16bit", "8bit", "4bit", "fp8"] = Field("16bit", title="Precision of the base",
        description="4bit and 8bit need less memory and are a little less exact; merging always uses the 16-bit base.")
    max_length: int = Field(1024, title="Sequence length (tokens)", ge=64, le=131072,
        description="Longest prompt plus answer. Longer needs more memory.")
    engine: Literal["auto", "trl", "unsloth"] = Field("auto", title="Engine", json_schema_extra=ADVANCED,
        description="auto takes Unsloth on one NVIDIA GPU if installed; TRL otherwise, and for small models in 16 bit.")
    gpus: int = Field(1, title="GPUs", ge=1, le=64, json_schema_extra=ADVANCED,
        description="How many GPUs train together. More than one uses the TRL engine.")
    machines: int = Field(1, title="Machines", ge=1, le=64, json_schema_extra=ADVANCED,
        description="How many machines train together, each with that many GPUs. They share the disk with the run.")
    fast_inference: bool = Field(True, title="Fast inference (vLLM)",
        description="Sample answers with vLLM where a GPU and vLLM are present: many times faster.")
    gpu_memory_share: float = Field(0.5, title="Share of GPU memory for vLLM", ge=0.05, le=0.95,
        json_schema_extra=ADVANCED, description="The rest is for training. Lower it when training runs out of memory.")
    vllm_sleep: bool = Field(False, title="vLLM sleeps while learning", json_schema_extra=ADVANCED,
        description="Gives vLLM's memory back during each learning step. Slower; for a model that fits no other way.")
    chat_template: Literal["model", "plain"] = Field("model", title="Chat template", json_schema_extra=ADVANCED,
        description="plain gives a simple one to a base model that has none of its own.")


    @property
    def processes(self) -> int:
        """How many processes train together: one for each GPU of each machine."""
        return self.gpus * self.machines


class LoraStep(Step):
    """The adapter that is trained instead of the whole model (LoRA, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(16, title="Rank", ge=1, le=512,
        description="Size of the adapter: higher can learn more and needs more memory.")
    alpha: int = Field(32, title="Alpha", ge=1, le=2048, json_schema_extra=ADVANCED,
        description="Strength of the adapter; commonly once or twice the rank.")
    dropout: float = Field(0.0, title="Dropout", ge=0, le=0.9, json_schema_extra=ADVANCED,
        description="Share of adapter inputs switched off at random while training.")
    targets: list[str] = Field(default_factory=list, title="Layers", json_schema_extra=ADVANCED,
        description="Names of the linear layers. Empty takes all of attention and MLP.")
    gradient_checkpointing: bool = Field(True, title="Gradient checkpointing", json_schema_extra=ADVANCED,
        description="Saves memory and costs some time.")


Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class SftStep(Step):
    """Supervised fine-tuning: the model imitates worked solutions and learns the tags."""

    enabled: bool = Field(True, title="Run SFT", description="Switch off for a model that already writes the tags.")
    learning_rate: float = Field(2e-4, title="Learning rate", gt=0, le=0.1, description="Size of each learning step.")
    epochs: float = Field(1.0, title="Epochs", gt=0, le=1000, description="How often each example is seen.")
    max_steps: int | None = Field(None, title="Stop after steps", ge=1, json_schema_extra=ADVANCED,
        description="Ends SFT early. Empty follows the epochs.")
    batch_size: int = Field(8, title="Batch size", ge=1, le=4096, description="Examples at a time on each device.")
    accumulation: int = Field(1, title="Gradient accumulation", ge=1, le=4096, json_schema_extra=ADVANCED,
        description="Batches added up before the model is changed.")
    warmup: float = Field(0.05, title="Warm-up share", ge=0, le=0.9, json_schema_extra=ADVANCED,
        description="Share of the steps in which the learning rate rises from zero.")
    scheduler: Scheduler = Field("cosine", title="Learning-rate schedule", json_schema_extra=ADVANCED,
        description="How the learning rate falls after the warm-up.")
    weight_decay: float = Field(0.0, title="Weight decay", ge=0, le=1, json_schema_extra=ADVANCED,
        description="Pulls the adapter's weights towards zero.")
    max_grad_norm: float = Field(1.0, title="Largest gradient norm", gt=0, le=1000, json_schema_extra=ADVANCED,
        description="Longer gradients are scaled down to this.")
    eval_every: int = Field(25, title="Evaluate every (steps)", ge=1, json_schema_extra=ADVANCED,
        description="Loss on the validation part.")
    save_every: int = Field(50, title="Checkpoint every (steps)", ge=1, json_schema_extra=ADVANCED,
        description="A crash loses at most this many steps.")
    keep: int = Field(2, title="Checkpoints kept", ge=1, le=1000, json_schema_extra=ADVANCED,
        description="Older ones are deleted.")


class RewardSpec(Step):
    """One reward function of the set: which kind, under which name, with which weight and parameters."""

    kind: str = Field(title="Kind", description="Name in the reward library, or `custom`.", max_length=100)
    name: str = Field("", title="Name", max_length=60, description="Shown in tables and charts. Empty takes the kind.")
    weight: float = Field(1.0, title="Weight", ge=-1000, le=1000, description="The score is multiplied by this.")
    enabled: bool = Field(True, title="On", description="Switched off, it is kept but not used.")
    parameters: dict[str, Any] = Field(default_factory=dict, title="Parameters",
        description="Settings of this reward; what is missing takes its default.")
    code: str | None = Field(None, title="Python code", max_length=50_000,
        description="Only for `custom`: runs in a sandbox.")

    @property
    def label(self) -> str:
        """The name under which its values are stored and plotted."""
        return self.name or self.kind


def _unique_labels(specs: list[RewardSpec]) -> list[RewardSpec]:
    labels = [s.label for s in specs]
    if double := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two rewards are named {double[0]!r}: give each its own name")
    return specs


def seed_workflow_rewards() -> list[RewardSpec]:
    """The four classic rewards of the two-stage workflow, with their classic scores as defaults."""
    return [RewardSpec(kind=k) for k in ("format_exact", "format_approximate", "answer_exact", "answer_numeric")]


class RewardsStep(Step):
    """What "good" means: the reward functions and how their scores become one."""

    functions: Annotated[list[RewardSpec], AfterValidator(_unique_labels)] = Field(
        default_factory=seed_workflow_rewards, title="Rewards", description="Scored for every sampled answer.")
    combine: Literal["sum", "normalised"] = Field("sum", title="How scores are combined", json_schema_extra=ADVANCED,
        description="sum adds the weighted scores; normalised first scales each reward within its group.")
    scale: Literal["group", "batch", "none"] = Field("group", title="Advantage scaling", json_schema_extra=ADVANCED,
        description="Divide by the spread of the group, of the whole batch, or not at all (Dr. GRPO).")


LossType = Literal["dapo", "grpo", "dr_grpo", "bnpo"]


class GrpoStep(Step):
    """Group Relative Policy Optimization (https://arxiv.org/abs/2402.03300): practise and learn from rewards."""

    enabled: bool = Field(True, title="Run GRPO", description="Switch off to do SFT alone.")
    learning_rate: float = Field(5e-6, title="Learning rate", gt=0, le=0.1,
        description="Size of each learning step. Small models bear a larger one than big models.")
    steps: int = Field(200, title="Steps", ge=1, le=1_000_000, description="How many times the model is changed.")
    num_generations: int = Field(8, title="Answers per question", ge=2, le=1024,
        description="Size of a group; each answer is compared with the others of its group.")
    batch_size: int = Field(8, title="Batch size (answers)", ge=1, le=65536,
        description="Answers at a time on each device.")
    accumulation: int = Field(1, title="Gradient accumulation", ge=1, le=65536,
        description="Batches added up before the model is changed: batch size x this x GPUs answers a step.")
    max_completion_tokens: int = Field(512, title="Longest answer (tokens)", ge=8, le=131072,
        description="Sampling stops here; an answer that was cut off cannot be right.")
    temperature: float = Field(1.0, title="Temperature", gt=0, le=5, description="Variety of the sampled answers.")
    top_p: float = Field(1.0, title="Top-p", gt=0, le=1, json_schema_extra=ADVANCED,
        description="Sample only from the likeliest tokens that make up this share.")
    top_k: int = Field(0, title="Top-k", ge=0, json_schema_extra=ADVANCED,
        description="Sample only from this many tokens; 0 is all.")
    beta: float = Field(0.0, title="KL penalty (beta)", ge=0, le=10,
        description="Holds the model near where GRPO started. 0 saves time and memory.")
    loss_type: LossType = Field("dapo", title="Loss type", json_schema_extra=ADVANCED,
        description="How tokens are averaged; dapo treats all tokens of a step alike.")
    epsilon: float = Field(0.2, title="Clip range", gt=0, lt=1, json_schema_extra=ADVANCED,
        description="How far one step may move the probability of a token.")
    epsilon_high: float | None = Field(None, title="Upper clip range", gt=0, le=10, json_schema_extra=ADVANCED,
        description="A larger upper limit keeps more variety. Empty uses the clip range.")
    num_iterations: int = Field(1, title="Learning passes per sample", ge=1, le=100, json_schema_extra=ADVANCED,
        description="How often the same answers are learnt from.")
    mask_truncated: bool = Field(False, title="Ignore cut-off answers", json_schema_extra=ADVANCED,
        description="Answers that reached the length limit then teach nothing.")
    warmup: float = Field(0.1, title="Warm-up share", ge=0, le=0.9, json_schema_extra=ADVANCED,
        description="Share of the steps in which the learning rate rises from zero.")
    scheduler: Scheduler = Field("cosine", title="Learning-rate schedule", json_schema_extra=ADVANCED,
        description="How the learning rate falls after the warm-up.")
    weight_decay: float = Field(0.1, title="Weight decay", ge=0, le=1, json_schema_extra=ADVANCED,
        description="Pulls the adapter's weights towards zero.")
    max_grad_norm: float = Field(0.1, title="Largest gradient norm", gt=0, le=1000, json_schema_extra=ADVANCED,
        description="Longer gradients are scaled down to this.")
    adam_beta2: float = Field(0.99, title="Adam beta2", gt=0, lt=1, json_schema_extra=ADVANCED,
        description="Memory of the optimizer for the size of gradients.")
    eval_every: int = Field(0, title="Score the validation part every (steps)", ge=0, json_schema_extra=ADVANCED,
        description="Held-out reward while training; 0 is never.")
    eval_rows: int = Field(64, title="Validation questions scored", ge=1, json_schema_extra=ADVANCED,
        description="How many validation questions are answered each time.")
    save_every: int = Field(50, title="Checkpoint every (steps)", ge=1, json_schema_extra=ADVANCED,
        description="A crash loses at most this many steps.")
    keep: int = Field(2, title="Checkpoints kept", ge=1, le=1000, json_schema_extra=ADVANCED,
        description="Older ones are deleted.")

    @property
    def completions_per_step(self) -> int:
        """Sampled answers behind one change of the model, on one device."""
        return self.batch_size * self.accumulation


class EvaluateStep(Step):
    """Which models are compared, on what, and how they are sampled."""

    enabled: bool = Field(True, title="Compare afterwards", description="Answer the held-out test with every model.")
    models: list[Literal["base", "sft", "grpo"]] = Field(["base", "sft", "grpo"], title="Models",
        description="Which of the three to compare.")
    benchmarks: list[str] = Field(["test"], title="Questions",
        description="test is the held-out part; gsm8k, math500, aime2024, aime2025, a file or a Hub id.")
    limit: int | None = Field(None, title="At most this many questions", ge=1, description="Empty takes all.")
    samples: int = Field(1, title="Answers per question", ge=1, le=256, json_schema_extra=ADVANCED,
        description="More than one needs a temperature above 0 and gives pass@k.")
    temperature: float = Field(0.0, title="Temperature", ge=0, le=5, json_schema_extra=ADVANCED,
        description="0 always takes the likeliest token: the usual way to compare.")
    top_p: float = Field(1.0, title="Top-p", gt=0, le=1, json_schema_extra=ADVANCED,
        description="Only with a temperature above 0.")
    max_completion_tokens: int | None = Field(None, title="Longest answer (tokens)", ge=8, le=131072,
        description="Empty takes the limit of GRPO.")
    batch_size: int = Field(64, title="Batch size", ge=1, le=65536, json_schema_extra=ADVANCED,
        description="Questions answered at a time without vLLM.")
    precision: Literal["16bit", "8bit", "4bit"] = Field("16bit", title="Precision", json_schema_extra=ADVANCED,
        description="At which quantisation the models answer.")
    plausible_tolerance: float = Field(0.1, title="Tolerance of plausible", ge=0, le=10, json_schema_extra=ADVANCED,
        description="A number this far off, as a share of the right one, still counts as plausible: 0.1 is 10 %.")

    @model_validator(mode="after")
    def _samples_need_temperature(self) -> "EvaluateStep":
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} answers per question at temperature 0 would all be alike: "
                             "set the temperature to 0.7, or the answers per question to 1")
        return self


class Parent(Step):
    """The run and checkpoint that this run continues."""

    run: str = Field(title="Run", description="Id of the earlier run.")
    checkpoint: str | None = Field(None, title="Checkpoint", description="Folder name of its checkpoint.")


class Provenance(Step):
    """What a run was made with; filled in when it starts, never by a person."""

    created: str = Field("", title="Created", description="Date and time, with the zone.")
    versions: dict[str, str] = Field(default_factory=dict, title="Versions", description="Package -> version.")
    data: dict[str, str] = Field(default_factory=dict, title="Data hashes", description="Local file -> SHA-256.")

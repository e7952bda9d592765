"""From an exception in the worker to a sentence and a remedy: what happened, and which number to change to what."""

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.disk import in_words
from pipeline.errors import StudioError
from pipeline.hardware import NEWEST_CUDA, SMALLEST_DRIVERS
from pipeline.lighter import lighter, vllm_of
from pipeline.model_facts import facts_at_hand
from pipeline.recipe import Recipe
from pipeline.resuming import Way

OUT_OF_MEMORY, OUT_OF_GPU_MEMORY = "memory", "GPU memory"
MERGES = ("merge_sft", "merge_grpo")
LIGHTER_STAGES = ("sft", "grpo", "evaluate")  # for which there may be a lighter recipe
WANT_OF_MEMORY = (OUT_OF_MEMORY, OUT_OF_GPU_MEMORY)  # kinds of failure
KILLED = "killed by the system (signal 9)"  # what the kernel does when memory is full


@dataclass(frozen=True)
class Failure:
    """What went wrong, in a sentence, and what to do about it."""

    reason: str
    remedy: str
    kind: str = ""  # of WANT_OF_MEMORY


@dataclass(frozen=True)
class Work:
    """What failed: a stage of a recipe, and how a person goes on with it."""

    recipe: Recipe
    stage: str
    way: Way

    @property
    def name(self) -> str:
        """The stage in words."""
        return STAGE_WORDS.get(self.stage, self.stage)


def explain(error: BaseException, recipe: Recipe, stage: str, way: Way | None = None) -> Failure:
    """The first rule that fits the error or one of its causes; otherwise its own words. `way`: with Resume, if it is
    left out."""
    chain, work = _chain(error), Work(recipe, stage, way or Way())
    for rule in RULES:
        for link in chain:
            if found := rule(link, work):
                return Failure(redact(found.reason), redact(found.remedy), found.kind)
    if isinstance(error, StudioError):
        return Failure(redact(str(error)), "")
    first = (str(error).strip().splitlines() or ["no message"])[0][:500]
    return Failure(redact(f"{work.name} ended with an unexpected error: {type(error).__name__}: {first}"),
                   f"The log shows where. {work.way.words}".strip())


STAGE_WORDS = {"prepare": "Preparing the data", "sft": "SFT", "merge_sft": "Merging after SFT", "grpo": "GRPO",
               "merge_grpo": "Merging after GRPO", "evaluate": "The evaluation", "dry_run": "The dry run",
               "ask": "Answering"}


def redact(text: str) -> str:
    """The text without access tokens: what the environment holds, and whatever has the shape of a Hub token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "WANDB_API_KEY"):
        value = os.environ.get(name, "")
        if len(value) >= 8:
            text = text.replace(value, f"[{name}]")
    return TOKEN.sub("[token]", text)


TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")


# ----------------------------------------------------------------------------------------------------


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain and len(chain) < 10:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _gpu_memory(error: BaseException, work: Work) -> Failure | None:
    text = str(error)
    if (failure := _taken_at_start(text, work)) is not None:
        return failure
    if type(error).__name__ != "OutOfMemoryError" and not GPU_IS_FULL.search(text):
        return None
    reason = f"{work.name} ran out of GPU memory{_gpu_numbers(text)}."
    if work.stage in MERGES:
        return Failure(reason, f"Merging looks at what it made on the GPU: end other programs there, then "
                               f"{work.way.press}. {work.way.words}".strip())
    return Failure(reason, _lower(work, of_gpu=True), OUT_OF_GPU_MEMORY if work.stage in LIGHTER_STAGES else "")


GPU_IS_FULL = re.compile(r"(CUDA|NCCL)[^\n]{0,60}out of memory|CUBLAS_STATUS_ALLOC_FAILED|Error out of memory at line",
                         re.I)


def _taken_at_start(text: str, work: Work) -> Failure | None:
    """vLLM refuses to start where less of the GPU is free than its share."""
    found = re.search(r"free memory on device[^(]*\(([\d.]+)/([\d.]+) GiB\).*?less than desired[^(]*\([\d.]+, "
                      r"([\d.]+) GiB\)", text, re.I)
    if found is None:
        return None
    free, total, wanted = map(float, found.groups())
    fits = int(90 * free / total)
    smaller = f" Or duplicate the run with a vLLM share of {fits}%." if fits >= 5 and work.stage == "grpo" else ""
    return Failure(f"{work.name}: too little of the GPU was free for vLLM: {free:g} of {total:g} GiB, and its share is "
                   f"{wanted:g} GiB.", f"Another program holds the rest: {work.way.press} when it has ended.{smaller}")


def _gpu_numbers(text: str) -> str:
    """What was asked for, what was free and what there is, as far as torch says it."""
    size = r"([\d.]+ [KMG]iB)"
    wanted = re.search(f"Tried to allocate {size}", text)
    there = re.search(f"total capacity of {size} of which {size} is free", text)
    if not wanted:
        return ""
    more = f", of {there[1]} in all {there[2]} were free" if there else ""
    return f" (it asked for {wanted[1]} more{more})"


def _no_cache(error: BaseException, work: Work) -> Failure | None:
    """vLLM measures how much of the GPU was taken while it loaded, by whatever program, and counts it as its own."""
    short = NO_ROOM_FOR_ONE.search(str(error))
    if "No available memory for the cache blocks" not in str(error) and not short:
        return None
    share = work.recipe.model.gpu_memory_share
    numbers = f" (one of {short[1]} tokens needs {short[2]} GiB, and {short[3]} GiB are left)" if short else ""
    shorter = f", or a sequence length below {work.recipe.model.max_length}" if short else ""
    if work.stage == "grpo":
        told, larger = f", {share:.0%}", round(min(0.95, max(share * 1.5, share + 0.05)), 2)
        other = f"duplicate the run with a vLLM share of {larger:.0%}{shorter}."
    else:  # it takes as much as it needs, and what is free
        told, other = "", f"this model needs a smaller precision to be asked here, or a larger GPU{shorter}."
    return Failure(f"{work.name}: vLLM found no room for the answers being sampled in its share of the GPU{told}"
                   f"{numbers}.",
                   f"If another program took memory of this GPU meanwhile, {work.way.press} when it has ended. If "
                   f"nothing else uses the GPU, {other}")


NO_ROOM_FOR_ONE = re.compile(r"max seq len \((\d+)\),? \(?([\d.]+) GiB KV\s+cache is needed, which is larger than the "
                             r"available KV\s+cache memory \(([\d.]+) GiB\)")


def _lower(work: Work, of_gpu: bool = False) -> str:
    """What to try where the GPU's memory, or the machine's, ran out: the proposal that one click starts, and what else
    helps."""
    recipe, stage = work.recipe, work.stage
    if stage == "evaluate" and not work.way.resumes:
        return ("What helps: a precision of 8-bit or 4-bit, a smaller number for the longest answer, or nothing else "
                f"that runs on this device; then {work.way.press}.")
    if stage in MERGES:
        return (f"Merging holds up to two copies of the model in 32 bits in this machine's memory"
                f"{_merged_size(recipe)}, which no setting makes smaller: end other programs, then {work.way.press}. "
                f"{work.way.words}".strip())
    found = lighter(recipe, stage, vllm_of(recipe, stage), of_gpu) if work.way.resumes else None
    first = ""
    if found is not None:
        first = ("«Try again with less memory» on the Runs tab goes on from the last checkpoint with "
                 f"{'; '.join(found.changes)}. ")
    ways = ["a smaller model"]
    if recipe.model.precision == "16bit":
        ways.append("a base in 4bit instead of 16bit")
    if stage == "sft":
        ways.append(f"a sequence length below {recipe.model.max_length}")
    elif stage == "grpo":
        ways.append(f"answers shorter than {recipe.grpo.max_completion_tokens} tokens")
    if not work.way.resumes:
        return f"What helps: {', or '.join(ways)}."
    return f"{first}What else helps: duplicate the run and choose {', or '.join(ways)}."


def _merged_size(recipe: Recipe) -> str:
    """How much the two copies are, where the model can be looked at without asking the Hub."""
    facts = facts_at_hand(recipe.model.source, recipe.model.revision)
    return f", {in_words(2 * 4 * facts.parameters)} together" if facts else ""


def _memory(error: BaseException, work: Work) -> Failure | None:
    text = str(error)
    killed = KILLED in text
    if not isinstance(error, MemoryError) and not killed and "DefaultCPUAllocator: can't allocate memory" not in text:
        return None
    wanted = re.search(r"tried to allocate (\d+) bytes", text)
    size = (f" (it asked for {in_words(int(wanted[1]))} more)" if wanted else
            " and was ended by the system" if killed else "")
    return Failure(f"{work.name} ran out of memory on this machine{size}.", _lower(work),
                   OUT_OF_MEMORY if work.stage in LIGHTER_STAGES else "")


def _cuda(error: BaseException, work: Work) -> Failure | None:
    text = str(error)
    if "driver on your system is too old" in text or "CUDA driver version is insufficient" in text:
        return Failure("The NVIDIA driver of this machine is too old for the installed torch.",
                       f"Update the driver ({SMALLEST_DRIVERS[NEWEST_CUDA]} or newer), or install a torch for the "
                       "driver's CUDA version; `nvidia-smi` shows it.")
    if re.search(r"no kernel image is available|not compiled with CUDA enabled|Found no NVIDIA driver", text):
        return Failure("The installed torch cannot use this machine's GPU: " + text.strip().splitlines()[0][:200],
                       "Run `pip install -r requirements-gpu.txt`, or train on the CPU with the bundled model.")
    if re.search(r"CUDA error|device-side assert|NCCL error|Xid", text):
        return Failure("The GPU reported an error: " + text.strip().splitlines()[0][:200],
                       f"{work.way.words} If it happens again at the same step, look into the log; an Xid in `dmesg` "
                       "points to the hardware.".strip())
    return None


def _not_a_number(error: BaseException, work: Work) -> Failure | None:
    text = str(error)
    if not re.search(r"probability tensor contains either .inf., .nan.|\b(loss|gradient|grad_norm|logits)\b.{0,40}"
                     r"\b(nan|inf|not finite)\b|\bnan\b.{0,20}\bloss\b", text, re.I):
        return None
    step = work.recipe.sft if work.stage == "sft" else work.recipe.grpo
    rate, norm = step.learning_rate, step.max_grad_norm
    return Failure(f"{work.name} diverged: the model's numbers are no longer finite (NaN).",
                   f"Duplicate the run with a lower learning rate ({rate:g} → {rate / 4:g}) or a smaller largest "
                   f"gradient norm ({norm:g} → {norm / 2:g}).")


def _disk(error: BaseException, work: Work) -> Failure | None:
    if not is_disk_full(error):
        return None
    return Failure("The disk is full.", "Free some space (the Runs tab shows what each run uses, and can delete "
                   f"checkpoints), then {work.way.press}.")


FULL_DISK = re.compile(  # the last two are what torch.save says of it
    r"No space left on device|File too large|database or disk is full|disk I/O error|PytorchStreamWriter failed|"
    r"inline_container\.cc:\d+\] \. unexpected pos")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one of its causes, says that there is no space left."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if FULL_DISK.search(str(link)):
            return True
    return False


def refusal(error: OSError) -> str:
    """What the file system refused a person, and what to do."""
    if is_disk_full(error):
        return ("The disk is full, and nothing was changed: free some space (the Runs tab deletes old runs and "
                "checkpoints), then try again.")
    return (f"The file system refused: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}. Mend that, then try again.")


def _model(error: BaseException, work: Work) -> Failure | None:
    if isinstance(error, StudioError):
        return None
    source, text, kind = work.recipe.model.source, str(error), type(error).__name__
    if kind == "GatedRepoError" or "gated repo" in text:
        return Failure(f"The model {source!r} is gated: its owner grants access person by person.",
                       f"Ask for access on https://huggingface.co/{source}, run `hf auth login`, then "
                       f"{work.way.press}.")
    if kind == "RepositoryNotFoundError":
        return Failure(f"There is no model {source!r} on the Hub, or it is private and you are not logged in.",
                       "Check the spelling (owner/name), or run `hf auth login`.")
    if kind in ("LocalEntryNotFoundError", "OfflineModeIsEnabled") or re.search(
            r"We couldn't connect to|Name or service not known|Temporary failure in name resolution|"
            r"Max retries exceeded", text):
        return Failure(f"The Hub could not be reached while {source!r} was loaded.",
                       f"Check the network, then {work.way.press}; or choose a model folder on this machine.")
    if re.search(r"Unrecognized model|does not recognize this architecture|Unrecognized configuration class|"
                 r"no file named .*(safetensors|pytorch_model)|not supported for now", text):
        return Failure(f"The model {source!r} could not be loaded: {text.strip().splitlines()[0][:300]}",
                       "Choose a causal language model with weights in safetensors format.")
    if kind == "SafetensorError" or "Error while deserializing header" in text:
        return Failure(f"The weights of the model {source!r} are damaged or incomplete ({text.strip()[:200]}).",
                       f"Fetch or copy the model again, all of it, then {work.way.press}.")
    return None


RULES: tuple[Callable[[BaseException, Work], Failure | None], ...] = (
    _no_cache, _gpu_memory, _memory, _cuda, _not_a_number, _disk, _model)

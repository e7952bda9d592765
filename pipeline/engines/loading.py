"""Models and tokenizers for training: dtype, quantisation, adapter layers; each failure told in words."""

import logging
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from pipeline.dataset.chat import PLAIN_TEMPLATE, model_folder
from pipeline.errors import EngineError
from pipeline.recipe import LoraStep, ModelStep

NOT_ADAPTED = ("lm_head", "embed_out", "score", "router", "shared_expert_gate")
QUANTISED_LINEAR = ("Conv1D", "Linear4bit", "Linear8bitLt")
# With an 8-bit base it says at every layer of every token that it rounds to float16: half a megabyte a second.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def device() -> str:
    """cuda when a GPU can be used, otherwise cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compute_dtype() -> torch.dtype:
    """bfloat16 on GPUs that have it, float16 on older ones, float32 on a CPU."""
    if device() == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def quantisation(precision: str) -> BitsAndBytesConfig | None:
    """The bitsandbytes settings for 8bit and 4bit (nf4, double quantisation); None for 16bit."""
    if precision == "16bit":
        return None
    if precision == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    if precision == "4bit":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                  bnb_4bit_compute_dtype=compute_dtype())
    raise EngineError(f"The TRL engine cannot load {precision}: choose 16bit, 8bit or 4bit, "
                      "or the unsloth engine for fp8.")


def load_tokenizer(source: str | Path, step: ModelStep) -> PreTrainedTokenizerBase:
    """The tokenizer, padded on the left, with a pad token that is not the end token where there is one to use."""
    tokenizer = AutoTokenizer.from_pretrained(source, revision=_revision(source, step), trust_remote_code=False)
    tokenizer.padding_side = "left"
    if step.chat_template == "plain":
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def load_model(source: str | Path, step: ModelStep, precision: str | None = None,
               dtype: torch.dtype | None = None, to: str | None = None) -> PreTrainedModel:
    """A causal language model in `precision` on this process's device. Raises EngineError in words."""
    settings = quantisation(precision or step.precision)
    options: dict[str, Any] = {"revision": _revision(source, step), "trust_remote_code": False,
                               "use_safetensors": True, "dtype": dtype or compute_dtype()}
    if settings is not None:
        options |= {"quantization_config": settings,
                    "device_map": {"": torch.cuda.current_device() if device() == "cuda" else "cpu"}}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, **options)
    except (OSError, ValueError, ImportError) as error:
        raise EngineError(f"The model {str(source)!r} cannot be loaded: {_first_line(error)} "
                          "Choose a folder or id of a causal language model in safetensors format.") from error
    return model if settings is not None else model.to(to or device())


def adapter_layers(model: torch.nn.Module) -> list[str]:
    """Leaf names of the linear layers of attention and MLP, found in the repeated blocks of the architecture.

    For a Llama: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj. Output heads and routers are left out.
    """
    names = set()
    for path, module in model.named_modules():
        leaf = path.rsplit(".", 1)[-1]
        in_block = any(part.isdigit() for part in path.split("."))
        is_linear = isinstance(module, torch.nn.Linear) or type(module).__name__ in QUANTISED_LINEAR
        if is_linear and in_block and leaf not in NOT_ADAPTED:
            names.add(leaf)
    if not names:
        raise EngineError(f"No attention or MLP layers were found in {type(model).__name__}: "
                          "name the layers in the recipe (lora.targets).")
    return sorted(names)


def lora_config(model: torch.nn.Module, step: LoraStep) -> LoraConfig:
    """The adapter's configuration with layers that exist in this model. Raises EngineError for a name that does not."""
    present = {path.rsplit(".", 1)[-1] for path, _ in model.named_modules()}
    if missing := [t for t in step.targets if t not in present]:
        raise EngineError(f"The model has no layer named {missing[0]!r}. It has: {', '.join(adapter_layers(model))}.")
    return LoraConfig(r=step.rank, lora_alpha=step.alpha, lora_dropout=step.dropout, bias="none",
                      task_type="CAUSAL_LM", target_modules=step.targets or adapter_layers(model))


def with_adapter(model: PreTrainedModel, step: LoraStep, seed: int) -> PeftModel:
    """The model with a fresh, seeded adapter; a quantised base is prepared for training first."""
    if getattr(model, "is_quantized", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=step.gradient_checkpointing)
    set_seed(seed)
    return get_peft_model(model, lora_config(model, step))


def trainable_share(model: torch.nn.Module) -> tuple[int, int]:
    """Trainable and all parameters of a model with adapter; packed 4-bit weights count unpacked."""
    trainable, total = model.get_nb_trainable_parameters()  # type: ignore[operator]
    return int(trainable), int(total)


def tune_threads(model: torch.nn.Module) -> None:
    """On a CPU, one thread for models under 10M parameters.

    Two are a quarter faster on two idle cores, but beside one busy program they wait for each other and take more than
    twice as long (docs/benchmarks.md).
    """
    if device() == "cpu" and sum(p.numel() for p in model.parameters()) < 10_000_000:
        torch.set_num_threads(1)


def snapshot(source: str | Path, step: ModelStep) -> Path:
    """The model's folder, for vLLM inside a trainer: given a Hub id, TRL's and Unsloth's load its newest revision."""
    return model_folder(str(source), _revision(source, step))


def stored_dtype(source: str | Path, step: ModelStep) -> torch.dtype:
    """The 16-bit type of the merged model: the base's own when it is 16-bit, otherwise bfloat16."""
    config = AutoConfig.from_pretrained(source, revision=_revision(source, step), trust_remote_code=False)
    return torch.float16 if getattr(config, "dtype", None) == torch.float16 else torch.bfloat16


def _revision(source: str | Path, step: ModelStep) -> str | None:
    return step.revision if str(source) == step.source else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__

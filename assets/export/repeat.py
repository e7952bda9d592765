"""Repeats a Reasoning Studio run with public libraries alone: SFT, merge, GRPO, merge, evaluation.

    pip install {requirements}
    python repeat.py --data data --out out

`data` holds sft.parquet, grpo.parquet and test.parquet as the run used them (columns system, question, reference,
completion). On a GPU with vLLM installed, GRPO samples with it. The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DataCollatorForSeq2Seq,
    GenerationConfig,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl import GRPOConfig, GRPOTrainer

# begin: the export puts these functions themselves, with all that they use, in the place of the imports
from pipeline.engines.rounding import round_to
from pipeline.rewards.answers import lenient_match, same_answer
from pipeline.rewards.base import Item
from pipeline.tags import TagScheme, extract, is_well_formed

KINDS = {}  # name of a reward -> its function
# end

RECIPE = json.loads("{}")  # filled in by the export
TAGS = json.loads("[]")  # name of the scheme, reasoning opens, reasoning closes, answer opens, answer closes
CHAT_TEMPLATE = json.loads("null")  # only for a base model without one of its own
GPU = torch.cuda.is_available()
TYPE = (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16) if GPU else torch.float32


# Reading and scoring answers ----------------------------------------------------------------------


@lru_cache(maxsize=65536)
def _math_equal(given, reference):
    """For what numbers and letters do not settle; None where math-verify is not there or gives up."""
    if not find_spec("math_verify"):
        return None
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(), ExprExtractionConfig()]
    try:
        gold, found = (parse(f"${text}$", extraction_config=config) for text in (reference, given))
        return bool(gold and found and verify(gold, found))
    except Exception:
        return None


def reward_functions(tokenizer):
    """The recipe's rewards in TRL's form, and their weights."""
    def count(text):
        return len(tokenizer.encode(text, add_special_tokens=False))

    functions, weights = [], []
    for spec in RECIPE["rewards"]:
        def reward(completions, reference, prompts=None, completion_ids=None, _spec=spec, **_):
            texts = [c[0]["content"] if isinstance(c, list) else c for c in completions]
            asked = [p[-1]["content"] for p in prompts] if prompts else [""] * len(texts)
            ids = completion_ids or [tokenizer.encode(text, add_special_tokens=False) for text in texts]
            cut = [completion_ids is not None and (not i or i[-1] not in ends_of(tokenizer)) for i in ids]
            items = [Item(*parts, count) for parts in zip(
                texts, reference, asked, [TagScheme(*TAGS)] * len(texts), map(len, ids), cut, strict=True)]
            settings = SimpleNamespace(**_spec["parameters"])
            return [KINDS[_spec["kind"]](item, settings)[0] for item in items]
        reward.__name__ = spec["label"]
        functions.append(reward)
        weights.append(spec["weight"])
    return functions, weights


def ends_of(tokenizer):
    """Tokens that end an answer."""
    return [tokenizer.eos_token_id, tokenizer.pad_token_id]


# Models and data ----------------------------------------------------------------------------------


def load(source, precision="16bit", dtype=None):
    options = {"dtype": dtype or TYPE, "use_safetensors": True}
    if precision in ("8bit", "4bit"):
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True) if precision == "8bit" else (
            BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                               bnb_4bit_compute_dtype=TYPE))
        options["device_map"] = {"": 0 if GPU else "cpu"}
    model = AutoModelForCausalLM.from_pretrained(source, **options)
    return model.cuda() if GPU and precision == "16bit" and dtype is None else model


def load_tokenizer(source, side):
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.padding_side = side
    if CHAT_TEMPLATE:
        tokenizer.chat_template = CHAT_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def messages(row):
    system = [{"role": "system", "content": row["system"]}] if row["system"] else []
    return [*system, {"role": "user", "content": row["question"]}]


def rows_of(file):
    frame = pd.read_parquet(file).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def lora(model):
    step = RECIPE["lora"]
    leaves = {n.rsplit(".", 1)[-1] for n, m in model.named_modules()
              if isinstance(m, torch.nn.Linear) and any(p.isdigit() for p in n.split("."))}
    return LoraConfig(r=step["rank"], lora_alpha=step["alpha"], lora_dropout=step["dropout"], bias="none",
                      task_type="CAUSAL_LM", target_modules=step["targets"] or sorted(leaves))


def arguments(out):
    return {"output_dir": str(out), "seed": RECIPE["seed"], "data_seed": RECIPE["seed"], "use_cpu": not GPU,
            "bf16": TYPE is torch.bfloat16, "fp16": TYPE is torch.float16,
            "optim": "adamw_torch_fused" if GPU else "adamw_torch",
            "gradient_checkpointing": RECIPE["lora"]["gradient_checkpointing"], "logging_steps": 10,
            "report_to": "none", "save_strategy": "no", "remove_unused_columns": False,
            "dataloader_pin_memory": GPU, "disable_tqdm": True}


def tokenised(tokenizer, row):
    """Loss on the answer and its end token alone; prompt and answer are encoded apart."""
    prompt = tokenizer.apply_chat_template(messages(row), tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(row["completion"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": ids + answer, "labels": [-100] * len(ids) + answer,
            "attention_mask": [1] * (len(ids) + len(answer))}


# Stages -------------------------------------------------------------------------------------------


def sft(base, rows, out):
    step, tokenizer = RECIPE["sft"], load_tokenizer(base, "right")
    model = load(base, RECIPE["precision"])
    set_seed(RECIPE["seed"])
    model = get_peft_model(model, lora(model))
    data = [tokenised(tokenizer, row) for row in rows if row["completion"]]
    data = [d for d in data if len(d["input_ids"]) <= RECIPE["max_length"]]
    Trainer(model=model, train_dataset=Dataset.from_list(data),
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100),
            args=TrainingArguments(
                learning_rate=step["learning_rate"], num_train_epochs=step["epochs"], max_steps=step["max_steps"] or -1,
                gradient_accumulation_steps=step["accumulation"], per_device_train_batch_size=step["batch_size"],
                warmup_steps=step["warmup"], lr_scheduler_type=step["scheduler"], weight_decay=step["weight_decay"],
                max_grad_norm=step["max_grad_norm"], **arguments(out))).train()
    model.save_pretrained(out / "adapter")
    return merge(base, out / "adapter", out / "merged")


def grpo(base, rows, out):
    step, tokenizer = RECIPE["grpo"], load_tokenizer(base, "left")
    model = load(base, RECIPE["precision"])
    functions, weights = reward_functions(tokenizer)
    use_vllm = {"use_vllm": True, "vllm_mode": "colocate"} if GPU and find_spec("vllm") else {}
    data = Dataset.from_list([{"prompt": messages(row), "reference": row["reference"]}
                              for row in rows if row["reference"] is not None])
    set_seed(RECIPE["seed"])
    trainer = GRPOTrainer(
        model=model, processing_class=tokenizer, peft_config=lora(model), reward_funcs=functions, train_dataset=data,
        args=GRPOConfig(
            learning_rate=step["learning_rate"], max_steps=step["steps"], num_generations=step["num_generations"],
            per_device_train_batch_size=step["batch_size"], gradient_accumulation_steps=step["accumulation"],
            max_completion_length=step["max_completion_tokens"], temperature=step["temperature"], top_p=step["top_p"],
            top_k=step["top_k"], beta=step["beta"], loss_type=step["loss_type"], epsilon=step["epsilon"],
            epsilon_high=step["epsilon_high"], num_iterations=step["num_iterations"],
            mask_truncated_completions=step["mask_truncated"], scale_rewards=RECIPE["scale"],
            multi_objective_aggregation=RECIPE["aggregation"], reward_weights=weights, warmup_steps=step["warmup"],
            lr_scheduler_type=step["scheduler"], weight_decay=step["weight_decay"],
            max_grad_norm=step["max_grad_norm"], adam_beta2=step["adam_beta2"], **use_vllm, **arguments(out)))
    trainer.train()
    trainer.model.save_pretrained(out / "adapter")
    return merge(base, out / "adapter", out / "merged")


def merge(base, adapter, out):
    """Into 16 bits, added up in float32 and rounded so that small updates survive."""
    model = PeftModel.from_pretrained(load(base, dtype=torch.float32), adapter).merge_and_unload()
    round_to(model, torch.bfloat16).save_pretrained(out)
    load_tokenizer(base, "left").save_pretrained(out)
    return str(out)


def evaluate(source, rows):
    """Greedy answers: how many have the format, are right in the tags, and right anywhere."""
    tokenizer, model, scheme = load_tokenizer(source, "left"), load(source).eval(), TagScheme(*TAGS)
    limit = RECIPE["evaluate"]["max_completion_tokens"] or RECIPE["grpo"]["max_completion_tokens"]
    ends = [i for i in {tokenizer.eos_token_id, *_ids(model.generation_config.eos_token_id)} if i is not None]
    greedy = GenerationConfig(do_sample=False, max_new_tokens=limit, pad_token_id=tokenizer.pad_token_id,
                              eos_token_id=ends)
    counts = {"format": 0, "exact": 0, "lenient": 0}
    for first in range(0, len(rows), 50):
        batch = rows[first : first + 50]
        prompts = [tokenizer.apply_chat_template(messages(row), tokenize=False, add_generation_prompt=True)
                   for row in batch]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        with torch.inference_mode():
            out = model.generate(**inputs, generation_config=greedy)
        texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
        for row, text in zip(batch, texts, strict=True):
            exact = same_answer(extract(scheme, text), row["reference"])
            counts["format"] += is_well_formed(scheme, text)
            counts["exact"] += exact
            counts["lenient"] += exact or lenient_match(text, row["reference"])
    return {name: {"count": count, "n": len(rows), "rate": count / len(rows)} for name, count in counts.items()}


def _ids(value):
    return value if isinstance(value, list) else [value]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent
    beside = str(here / "model") if (here / "model" / "config.json").exists() else RECIPE["source"]
    parser.add_argument("--data", type=Path, default=here / "data")
    parser.add_argument("--model", default=beside, help="folder or Hugging Face id of the base model")
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args()
    current, result = args.model, {}
    test = [row for row in rows_of(args.data / "test.parquet") if row["reference"] is not None]
    test = test[: RECIPE["evaluate"]["limit"]]
    result["base"] = evaluate(current, test)
    if RECIPE["sft"]["enabled"]:
        current = sft(current, rows_of(args.data / "sft.parquet"), args.out / "sft")
        result["sft"] = evaluate(current, test)
    if RECIPE["grpo"]["enabled"]:
        current = grpo(current, rows_of(args.data / "grpo.parquet"), args.out / "grpo")
        result["grpo"] = evaluate(current, test)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

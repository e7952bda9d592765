"""A Llama of about a billion random weights, for speed and memory only: `python -m benchmarks.random_llama FOLDER OUT`.

The shape is that of Llama 3.2 1B (https://huggingface.co/meta-llama/Llama-3.2-1B), the vocabulary that of the given
model, whose tokenizer and chat template are copied. Answers are noise, so they run to the longest length.
"""

import sys

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM


def main(source: str, out: str) -> None:
    """Write the folder in bfloat16."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:,.0f}M parameters in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])

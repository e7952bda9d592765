"""Ways to train and sample: TRL everywhere, Unsloth with vLLM on one NVIDIA GPU."""

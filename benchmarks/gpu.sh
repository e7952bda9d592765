#!/usr/bin/env bash
# The numbers that need an NVIDIA GPU, one job at a time: the plain scripts, then our pipeline with both engines.
#   MODEL=folder TRAIN=gsm8k/train.jsonl TEST=gsm8k/test.jsonl bash benchmarks/gpu.sh
set -euo pipefail
: "${MODEL:?the folder of a small instruct model}" "${TRAIN:?GSM8K train as JSONL}" "${TEST:?GSM8K test as JSONL}"
PYTHON=${PYTHON:-python}; HERE=$(cd "$(dirname "$0")/.." && pwd); OUT=${OUT:-$HERE/docs/results}; WORK=$(mktemp -d)
export PYTHONPATH="$HERE:$HERE/benchmarks/plain${PYTHONPATH:+:$PYTHONPATH}" DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1
common=(--model "$MODEL" --data "$TRAIN" --steps "${STEPS:-20}" --batch 32 --generations 8 --max-tokens 256)

cd "$WORK" # Unsloth writes generated code into the working folder
$PYTHON "$HERE/benchmarks/plain/trl_grpo.py" "${common[@]}" --out "$OUT/gpu-plain-trl-transformers.json"
$PYTHON "$HERE/benchmarks/plain/trl_grpo.py" --vllm "${common[@]}" --out "$OUT/gpu-plain-trl-vllm.json"
timeout 900 $PYTHON "$HERE/benchmarks/plain/unsloth_grpo.py" "${common[@]}" --out "$OUT/gpu-plain-unsloth.json" ||
  echo "the plain Unsloth script did not finish in 15 minutes"
for engine in trl unsloth; do
  $PYTHON -m benchmarks.gpu_pipeline --engine $engine --model "$MODEL" --train "$TRAIN" --test "$TEST" \
    --home "$WORK/$engine" --out "$OUT/gpu-$engine.json"
done

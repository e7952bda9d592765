#!/usr/bin/env bash
# The numbers that need an NVIDIA GPU, one job at a time; each part prints what it found and keeps its raw output.
#   MODEL=folder TRAIN=gsm8k/train.jsonl TEST=gsm8k/test.jsonl bash benchmarks/gpu.sh [pipeline|less-memory|learning|steps|reward|limits|follows|text|once|sampling|ways|packing|several|curve|at-once|evaluation|memory …]
# `LARGE=folder` adds a second model size to the steps, the limits and the memory table, and `packing` takes it; `AIME=file`
# adds AIME's problems to one seed of `learning`. Parts: all, unless some are named. What was found: docs/gpu-benchmarks.md.
set -uo pipefail
: "${MODEL:?the folder of a small instruct model}" "${TRAIN:?GSM8K train as JSONL}" "${TEST:?GSM8K test as JSONL}"
PYTHON=${PYTHON:-python}; HERE=$(cd "$(dirname "$0")/.." && pwd); OUT=${OUT:-$PWD/gpu-results}; WORK=$(mktemp -d)
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}" DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 PYTHONUNBUFFERED=1
mkdir -p "$OUT"
MODEL=$(realpath "$MODEL") TRAIN=$(realpath "$TRAIN") TEST=$(realpath "$TEST") OUT=$(realpath "$OUT")
[ -z "${LARGE:-}" ] || LARGE=$(realpath "$LARGE")
[ -z "${AIME:-}" ] || AIME=$(realpath "$AIME")
cd "$WORK" # Unsloth writes generated code into the working folder
GPUS=$(nvidia-smi --list-gpus | wc -l); [ "$GPUS" -gt 1 ] || echo "One GPU: the parts several and curve are left out."
wanted() { [ ${#parts[@]} -eq 0 ] || [[ " ${parts[*]} " == *" $1 "* ]]; }
parts=("$@"); failed=0

if wanted pipeline; then # SFT → merge → GRPO → merge → evaluation on both engines, stopped and resumed once
  for engine in trl unsloth; do
    $PYTHON -m benchmarks.gpu_pipeline --engine $engine --model "$MODEL" --train "$TRAIN" --test "$TEST" \
      --stop-after 5 --home "$WORK/$engine" --out "$OUT/gpu-$engine.json" || failed=1
  done
fi
if wanted less-memory; then # GRPO with a batch that no such GPU holds: the failure explained, and tried again with less
  $PYTHON -m benchmarks.gpu_pipeline --engine trl --model "$MODEL" --train "$TRAIN" --test "$TEST" --sft-rows 1000 \
    --sft-epochs 1 --batch 1024 --accumulation 1 --steps 3 --questions -1 --less-memory 4 --home "$WORK/less" \
    --out "$OUT/gpu-less-memory.json" || failed=1
fi
if wanted learning; then # the recipe for GSM8K with three seeds: GRPO against SFT on the test
  for seed in 1 2 3; do
    more=(); [ $seed != 2 ] || more=(--levels 8bit 4bit ${AIME:+--aime "$AIME"})
    $PYTHON -m benchmarks.gpu_pipeline --engine trl --model "$MODEL" --train "$TRAIN" --test "$TEST" --seed $seed \
      --samples 4 "${more[@]}" --home "$WORK/seed-$seed" --out "$OUT/gpu-learning-short-$seed.json" || failed=1
  done
  $PYTHON -m benchmarks.seeds "$OUT"/gpu-learning-short-*.json || failed=1
fi
if wanted reward; then # from one SFT model: seconds of learning until a validation reward, all at once and 8 at a time
  RUN=(-m benchmarks.gpu_pipeline --engine trl --train "$TRAIN" --test "$TEST" --questions -1 --sft-rows 1000
       --sft-epochs 1 --vllm-share 0.2)
  $PYTHON "${RUN[@]}" --model "$MODEL" --home "$WORK/reward" --out "$WORK/sft.json" --set grpo.enabled=false || failed=1
  pairs=()
  for seed in 1 2 3; do for way in "at-once 64 1" "by-eight 8 8"; do
    read -r name batch accumulation <<< "$way"
    pairs+=("$OUT/gpu-reward-$name-$seed.json")
    $PYTHON "${RUN[@]}" --model "$(echo "$WORK"/reward/runs/*/models/sft)" --seed $seed --batch "$batch" \
      --accumulation "$accumulation" --steps 40 --eval-every 4 --home "$WORK/$name-$seed" --out "${pairs[-1]}" \
      --set sft.enabled=false || failed=1
  done; done
  $PYTHON -m benchmarks.seconds_to_reward "${pairs[@]}" --reward 0.95 1.0 1.04 || failed=1
fi
step() { # path, model, what its files' names end in, settings
  $PYTHON -m benchmarks.steps --data "$TRAIN" --max-tokens 512 --max-length 1024 --path "$1" --model "$2" \
    --out "$OUT/gpu-steps-$1$3.json" "${@:4}" || failed=1
}
if wanted steps; then # ours against the plain script, in turns; with vLLM also against the quickstart's batch
  step trl-vllm "$MODEL" "" --vllm-share 0.1 --steps 3 --skip 3 --repeats 6 --quickstart 4 --again
  step unsloth "$MODEL" "" --vllm-share 0.1 --steps 2 --skip 2 --repeats 5 --quickstart 4 --again
  step trl-transformers "$MODEL" "" --steps 1 --skip 1 --repeats 5
  [ -z "${LARGE:-}" ] || {
    step trl-vllm "$LARGE" -1b --vllm-share 0.15 --steps 3 --skip 3 --repeats 5 --quickstart 4
    step unsloth "$LARGE" -1b --vllm-share 0.15 --steps 2 --skip 2 --repeats 5 --quickstart 4
    step trl-transformers "$LARGE" -1b --steps 1 --skip 1 --repeats 5
  }
fi
if wanted limits; then # sampling alone plus one forward and backward pass alone: what a step could cost at best
  limits() { # model, what its files' names end in, vLLM's share
    VLLM_USE_FLASHINFER_SAMPLER=0 PYTHONPATH="$PYTHONPATH:$HERE/benchmarks/plain" $PYTHON \
      "$HERE/benchmarks/plain/limits.py" --model "$1" --data "$TRAIN" --batch 64 --max-tokens 512 --max-length 1024 \
      --vllm-share "$3" --out "$OUT/gpu-limits$2.json" || return
    for path in trl-vllm unsloth; do
      [ ! -e "$OUT/gpu-steps-$path$2.json" ] ||
        $PYTHON -m benchmarks.over_limit "$OUT/gpu-steps-$path$2.json" "$OUT/gpu-limits$2.json"
    done
  }
  limits "$MODEL" "" 0.1 || failed=1
  [ -z "${LARGE:-}" ] || limits "$LARGE" -1b 0.3 || failed=1
fi
if wanted follows; then # whether vLLM samples from the model that learns, in TRL's way and in the app's
  for precision in 16bit 4bit; do for way in trl app; do
    $PYTHON -m benchmarks.sampler_follows --way $way --precision $precision --model "$MODEL" --data "$TRAIN" \
      --max-tokens 128 --vllm-share 0.1 --out "$OUT/gpu-follows-$precision-$way.json" || failed=1
  done; done
fi
if wanted text; then # what text of every token costs while a trainer waits
  $PYTHON -m benchmarks.vllm_text --model "$MODEL" --out "$OUT/gpu-vllm-text.json" || failed=1
fi
if wanted once; then # what the second scoring of the answers costs
  $PYTHON -m benchmarks.score_once --model "$MODEL" --data "$TRAIN" --batch 64 --max-tokens 512 --max-length 1024 \
    --vllm-share 0.1 --out "$OUT/gpu-score-once.json" || failed=1
fi
if wanted sampling; then # a token of transformers' sampling beside an adapter
  $PYTHON -m benchmarks.adapter_sampling --model "$MODEL" --precisions 16bit 8bit 4bit --out "$OUT/gpu-adapter-sampling.json" || failed=1
fi
if wanted ways; then # vLLM in a process of its own, without torch.compile, and in the trainer's process
  $PYTHON -m benchmarks.vllm_ways --model "$MODEL" --max-tokens 512 --out "$OUT/gpu-vllm-ways.json" || failed=1
fi
if wanted packing; then # Unsloth's learning from answers in one row and in rows of one length
  PYTHONPATH="$PYTHONPATH:$HERE/benchmarks/plain" $PYTHON "$HERE/benchmarks/plain/unsloth_packing.py" --model "${LARGE:-$MODEL}" \
    --data "$TRAIN" --batch 64 --max-tokens 512 --max-length 1024 --vllm-share 0.15 --steps 28 ${LARGE:+--stop-every 491} \
    --out "$OUT/gpu-packing.json" || failed=1
fi
if wanted several && [ "$GPUS" -gt 1 ]; then # the same answers on each of two GPUs as on one
  for gpus in 1 2; do
    $PYTHON -m benchmarks.gpu_pipeline --engine trl --model "$MODEL" --train "$TRAIN" --test "$TEST" --sft-rows 0 --steps 14 --accumulation 4 \
      --questions -1 --vllm-share 0.2 --gpus $gpus --home "$WORK/gpus-$gpus" --out "$WORK/gpus-$gpus.json" || failed=1
  done
  $PYTHON -m benchmarks.several_gpus 1="$WORK/gpus-1.json" 2="$WORK/gpus-2.json" --out "$OUT/gpu-several.json" || failed=1
fi
if wanted curve && [ "$GPUS" -gt 1 ]; then # the demo's GRPO on one GPU and on two, from one SFT model
  $PYTHON -m benchmarks.same_curve --gpus 1 2 --out "$OUT/gpu-same-curve.json" || failed=1
fi
if wanted at-once; then # questions a second by how many vLLM answers at a time, with graphs as it records them and for all
  for graphs in 0 1344; do
    $PYTHON -m benchmarks.answers_at_once --model "$MODEL" --data "$TEST" --graphs $graphs --rounds 3 \
      --out "$OUT/gpu-answers-at-once-$graphs.json" || failed=1
  done
fi
if wanted evaluation; then # questions a second against vLLM's own offline generation
  $PYTHON -m benchmarks.evaluation_speed --model "$MODEL" --data "$TEST" --max-tokens 256 --max-length 1024 \
    --repeats 6 --passes 3 --out "$OUT/gpu-evaluation.json" || failed=1
fi
if wanted memory; then # estimates against peaks
  $PYTHON -m benchmarks.memory_peaks --models "$MODEL" ${LARGE:+"$LARGE"} --data "$TRAIN" --half --batch 16 --vllm-share 0.1 \
    --out "$OUT/gpu-memory.json" || failed=1
fi
exit $failed

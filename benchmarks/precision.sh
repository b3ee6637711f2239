#!/usr/bin/env bash
# What lower precision costs in quality: both models of each task, decoded by --inference-precision float32, bfloat16, float16, int8.
# Run it again to go on.
#
# Usage: benchmarks/precision.sh TASKS OUT
#
#   TASKS  the folder of a finished benchmarks/tasks.sh
#   OUT    folder for what is decoded; its scores-test.json are the figures
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -eq 2 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
trained=$1 out=$2 stages=24
mkdir -p "$out"

for task in vqa grounding entailment; do
    for model in teacher narvl; do
        recipe=$task/narvl_nano
        [[ $model == narvl ]] || recipe=$task/ofa_nano
        for precision in float32 bfloat16 float16 int8; do
            run=$out/$task/$model/$precision
            stage "$task, $model, $precision" "$run/scores-test.txt" "$scripts/evaluate.sh" "$recipe" \
                "$trained/$task/$model/best.pt" "$trained/$task/data" test "$run" --inference-precision "$precision"
        done
    done
done

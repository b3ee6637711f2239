#!/usr/bin/env bash
# What lower precision costs in quality: both models of each task, decoded by --inference-precision float32, bfloat16, float16, int8.
# Run it again to go on.
#
# Usage: benchmarks/precision.sh RUNS OUT
#
#   RUNS   the folder of the runs behind the tables (narvl tables table1), of whose seed 1 these are
#   OUT    folder for what is decoded; its scores-test.json are the figures
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -eq 2 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
trained=$1 out=$2 stages=24
mkdir -p "$out"

for task in vqa grounding entailment; do
    for model in ofa narvl; do
        for precision in float32 bfloat16 float16 int8; do
            run=$out/$task/$model/$precision
            stage "$task, $model, $precision" "$run/scores-test.txt" "$scripts/evaluate.sh" "$task/${model}_nano" \
                "$trained/$task/$model/seed1/checkpoint_best.pt" "$trained/data/$task" test "$run" --inference-precision "$precision"
        done
    done
done

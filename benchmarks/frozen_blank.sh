#!/usr/bin/env bash
# What the trained blank is worth where the token table is frozen (--freeze-embedding): NARVL from the quickstart's teacher,
# once as it is, once with the blank left at its random start, as in earlier implementations.
#
# Usage: benchmarks/frozen_blank.sh QUICKSTART OUT
#
#   QUICKSTART  the folder of a finished run_scripts/quickstart.sh
#   OUT         folder for both runs; their scores-test.json are the figures
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -eq 2 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
quickstart=$1 out=$2

for blank in trained frozen; do
    run=$out/$blank plugin=()
    [[ $blank == trained ]] || plugin=(--user-dir "$root/benchmarks/blank_plugin")
    mkdir -p "$run"
    "$root/run_scripts/train.sh" captioning/narvl_nano "$quickstart/distilled" "$run" \
        "${plugin[@]}" --freeze-embedding --max-update 200 --total-num-update 200 \
        --finetune-from-model "$quickstart/teacher/checkpoint_best.pt" >"$run/train.log"
    "$root/run_scripts/generate.sh" captioning/narvl_nano "$run/checkpoint_best.pt" "$quickstart/data" test "$run"
    narvl score captioning --results "$run/generate-test.txt" --data "$quickstart/data" --split test --json "$run/scores-test.json"
done

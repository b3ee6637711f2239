#!/usr/bin/env bash
# Every task on the embedded scenes: the autoregressive baseline and NARVL, nano size, trained by the recipes, decoded, scored,
# timed. Run it again to go on where it was stopped.
#
# Usage: benchmarks/tasks.sh OUT [TASK...]
#
#   OUT   folder for everything it makes; OUT/TASK/report holds each task's figures
#   TASK  the tasks to run (default: vqa grounding entailment; captioning is the quickstart's)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -ge 1 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
out=$1
shift
tasks=("$@")
[[ $# -gt 0 ]] || tasks=(vqa grounding entailment)

for task in "${tasks[@]}"; do
    run=$out/$task
    [[ -f $run/data/test.tsv ]] || narvl scenes --task "$task" --out "$run/data" --seed 0
    "$root/run_scripts/pipeline.sh" "$task" nano "$run/data" "$run" --seed 1
    narvl latency --data "$run/data" --run "AR=$run/teacher/best.pt" --run "NARVL=$run/narvl/best.pt" \
        --max-len-b 5 --json "$run/latency.json"
    narvl report --data "$run/data" --split test --run "AR=$run/teacher" --run "NARVL=$run/narvl" \
        --latency "$run/latency.json" --out "$run/report"
done

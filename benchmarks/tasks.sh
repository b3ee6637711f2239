#!/usr/bin/env bash
# Every task on the embedded scenes: the autoregressive baseline and NARVL, nano size, trained by the recipes, decoded, scored,
# timed. For vqa and entailment both start from one model pretrained on captions, questions and hypotheses, as OFA's do; for
# grounding, of which that model knows nothing, both start from scratch. Run it again to go on where it was stopped.
#
# Usage: benchmarks/tasks.sh QUICKSTART OUT [TASK...]
#
#   QUICKSTART  the folder of a finished run_scripts/quickstart.sh, whose teacher the pretraining goes on from
#   OUT         folder for everything it makes; OUT/TASK/report holds each task's figures
#   TASK        the tasks to run (default: vqa grounding entailment; captioning is the quickstart's)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -ge 2 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
quickstart=$1 out=$2 stages=2
shift 2
tasks=("$@")
[[ $# -gt 0 ]] || tasks=(vqa grounding entailment)

pretrained=$out/pretrained
mkdir -p "$out"
stage 'data for pretraining' "$pretrained/data/test.tsv" narvl scenes --task pretraining --out "$pretrained/data" --seed 0
stage 'pretraining' "$pretrained/done" train_to_end vqa/ofa_pretraining "$pretrained/data" "$pretrained" --seed 1 \
    --finetune-from-model "$quickstart/teacher/checkpoint_best.pt"

for task in "${tasks[@]}"; do
    run=$out/$task start=(--finetune-from-model "$pretrained/checkpoint_best.pt")
    [[ $task != grounding ]] || start=()
    [[ -f $run/data/test.tsv ]] || narvl scenes --task "$task" --out "$run/data" --seed 0
    "$scripts/pipeline.sh" "$task" nano "$run/data" "$run" --seed 1 "${start[@]}"
    [[ -f $run/latency.json ]] || narvl latency --data "$run/data" --max-len-b 5 --json "$run/latency.json" \
        --run "AR=$run/teacher/best.pt" --run "NARVL=$run/narvl/best.pt"
    narvl report --data "$run/data" --split test --run "AR=$run/teacher" --run "NARVL=$run/narvl" \
        --latency "$run/latency.json" --out "$run/report"
done
python "$root/benchmarks/kinds.py" "$out" "$out/kinds.json"

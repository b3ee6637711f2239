#!/usr/bin/env bash
# From a fresh clone to a parallel captioner: set-up, embedded scenes, an autoregressive teacher, NARVL distilled from it,
# both decoded, scored, timed, and set side by side in a table and a picture. CPU, two cores; run it again to go on
# where it was stopped.
#
# Usage: run_scripts/quickstart.sh [OUT]
#
#   OUT  folder for everything it makes (default: runs/quickstart in the repository)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -le 1 && ${1:-} != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

out=${1:-$root/runs/quickstart}
data=$out/data teacher=$out/teacher distilled=$out/distilled student=$out/narvl
mkdir -p "$out"
stages=8
seed=1

# train RECIPE DATA SAVE_DIR FLAGS...
train() { train_to_end "$@" --seed "$seed"; }

distill() {
    narvl distill rows --data "$data" --out "$distilled"
    "$scripts/generate.sh" captioning/ofa_nano "$teacher/checkpoint_best.pt" "$distilled" teacher "$distilled"
    narvl distill targets --out "$distilled" --results "$distilled/generate-teacher.txt"
}

evaluate() { # evaluate RECIPE RUN
    "$scripts/generate.sh" "$1" "$2/checkpoint_best.pt" "$data" test "$2"
    narvl score captioning --results "$2/generate-test.txt" --data "$data" --split test --json "$2/scores-test.json" >"$2/scores-test.txt"
}

latency() {
    narvl latency --data "$data" --run "AR teacher=$teacher/checkpoint_best.pt" --run "NARVL=$student/checkpoint_best.pt" \
        --max-len-b 24 --json "$out/latency.json.partial" >"$out/latency.txt"
    mv "$out/latency.json.partial" "$out/latency.json"
}

stage 'set-up' "$out/none" "$scripts/setup.sh"
stage 'embedded scenes' "$data/test.tsv" narvl scenes --out "$data" --seed 0
stage 'autoregressive teacher' "$teacher/done" train captioning/ofa_nano "$data" "$teacher"
stage "the teacher's captions as targets" "$distilled/train.tsv" distill
stage 'NARVL with Q-CTC, from the teacher' "$student/done" train captioning/narvl_nano "$distilled" "$student" \
    --finetune-from-model "$teacher/checkpoint_best.pt"
stage 'teacher: decode and score' "$teacher/scores-test.json" evaluate captioning/ofa_nano "$teacher"
stage 'NARVL: decode and score' "$student/scores-test.json" evaluate captioning/narvl_nano "$student"
stage 'latency, one image at a time' "$out/latency.json" latency

printf '\n'
narvl report --data "$data" --split test --run "AR teacher=$teacher" --run "NARVL=$student" \
    --latency "$out/latency.json" --out "$out/report"
printf '\nPictures with both captions: %s\nCaption one yourself: narvl predict --path %s IMAGE\n' \
    "$out/report/grid.png" "$student/checkpoint_best.pt"

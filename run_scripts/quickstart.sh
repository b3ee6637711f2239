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
scripts=$root/run_scripts
seed=1

# stage NUMBER TITLE DONE_FILE COMMAND...: run a command once; its last file tells that it was.
stage() {
    local number=$1 title=$2 done_file=$3
    shift 3
    if [[ -f $done_file ]]; then
        printf '[%s/8] %s: done before\n' "$number" "$title"
        return
    fi
    local start=$SECONDS
    printf '[%s/8] %s\n' "$number" "$title"
    "$@"
    printf '      %d s\n' $((SECONDS - start))
    printf '%s\t%d\n' "$title" $((SECONDS - start)) >>"$out/seconds.tsv"
}

# train RECIPE DATA SAVE_DIR FLAGS...: the whole log goes to a file; progress bars and validation to the terminal.
train() {
    local save_dir=$3
    mkdir -p "$save_dir"
    local log=$save_dir/train.log
    local told='s/.*valid on .*\| loss ([0-9.]+) .*cider ([0-9.]+) .*num_updates ([0-9]+).*/      update \3: loss \1, CIDEr \2/p'
    if ! "$scripts/train.sh" "$@" --seed "$seed" > >(tee -a "$log" | sed -u -n -E "$told"); then
        printf 'training failed; the last lines of %s:\n' "$log" >&2
        tail -n 5 "$log" >&2
        exit 1
    fi
    touch "$save_dir/done"
}

distill() {
    narvl distill rows --data "$data" --out "$distilled"
    "$scripts/generate.sh" captioning/ofa_nano "$teacher/checkpoint_best.pt" "$distilled" teacher "$distilled"
    narvl distill targets --out "$distilled" --results "$distilled/generate-teacher.txt"
}

evaluate() { # evaluate RECIPE RUN
    "$scripts/generate.sh" "$1" "$2/checkpoint_best.pt" "$data" test "$2"
    narvl score captioning --results "$2/generate-test.txt" --data "$data" --split test --json "$2/scores.json" >"$2/scores.txt"
}

latency() {
    narvl latency --data "$data" --run "AR teacher=$teacher/checkpoint_best.pt" --run "NARVL=$student/checkpoint_best.pt" \
        --max-len-b 24 --json "$out/latency.json.partial" >"$out/latency.txt"
    mv "$out/latency.json.partial" "$out/latency.json"
}

stage 1 'set-up' "$out/none" "$scripts/setup.sh"
stage 2 'embedded scenes' "$data/test.tsv" narvl scenes --out "$data" --seed 0
stage 3 'autoregressive teacher' "$teacher/done" train captioning/ofa_nano "$data" "$teacher"
stage 4 "the teacher's captions as targets" "$distilled/train.tsv" distill
stage 5 'NARVL with Q-CTC, from the teacher' "$student/done" train captioning/narvl_nano "$distilled" "$student" \
    --finetune-from-model "$teacher/checkpoint_best.pt"
stage 6 'teacher: decode and score' "$teacher/scores.json" evaluate captioning/ofa_nano "$teacher"
stage 7 'NARVL: decode and score' "$student/scores.json" evaluate captioning/narvl_nano "$student"
stage 8 'latency, one image at a time' "$out/latency.json" latency

printf '\n'
narvl report --data "$data" --split test --run "AR teacher=$teacher" --run "NARVL=$student" \
    --latency "$out/latency.json" --out "$out/report"
printf '\nPictures with both captions: %s\nCaption one yourself: narvl predict --path %s IMAGE\n' \
    "$out/report/grid.png" "$student/checkpoint_best.pt"

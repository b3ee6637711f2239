#!/usr/bin/env bash
# How shall queries say a box? Five queries by Q-CTC (the paper), nine, so that blanks fit between equal coordinates, and five by
# position-wise cross-entropy, decoded by the most probable box (the default) and by each query's best bin: NARVL nano on the
# embedded scenes, same data, seed and updates. Run it again to go on.
#
# Usage: benchmarks/grounding.sh DATA OUT [fairseq-train's flags...]
#
#   DATA  from: narvl scenes --task grounding --out DATA
#   OUT   folder for the runs; their scores-test.json and logs are the figures
#
# The flags go to every run, for example --finetune-from-model PRETRAINED/checkpoint_best.pt.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -ge 2 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
data=$1 out=$2 stages=7
shift 2
more=("$@")
mkdir -p "$out"

compare() { # compare NAME FLAGS...
    local run=$out/$1
    shift
    stage "train ${run##*/}" "$run/done" train_to_end grounding/narvl_nano "$data" "$run" --seed 1 "${more[@]}" "$@"
    score "$run" "$run"
}

score() { # score TRAINED RUN FLAGS...
    local trained=$1 run=$2
    shift 2
    stage "score ${run##*/}" "$run/scores-test.txt" \
        "$scripts/evaluate.sh" grounding/narvl_nano "$trained/checkpoint_best.pt" "$data" test "$run" "$@"
}

compare ctc5 --num-queries 5 --alignment ctc --criterion query_ctc
compare ctc9 --num-queries 9 --alignment ctc --criterion query_ctc
compare position5 --num-queries 5 --alignment position --criterion query_cross_entropy
score "$out/position5" "$out/position5_greedy" --box-decoding greedy

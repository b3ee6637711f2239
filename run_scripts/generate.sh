#!/usr/bin/env bash
# Decodes a split by a trained checkpoint: fairseq-generate with the recipe's task and generation flags, then yours.
#
# Usage: run_scripts/generate.sh RECIPE CHECKPOINT DATA SPLIT OUT [fairseq-generate's flags...]
#
#   RECIPE      the recipe it was trained by, for example captioning/narvl_nano
#   CHECKPOINT  for example SAVE_DIR/checkpoint_best.pt
#   SPLIT       valid, test, ...: DATA/SPLIT.tsv
#   OUT         folder for generate-SPLIT.txt
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -ge 5 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

load_recipe "$1" "${@:6}"
checkpoint_path=$2 data=$3 split=$4 out=$5
shift 5
[[ -f $data/$split.tsv ]] || die "SPLIT $split: no such file $data/$split.tsv. The order is RECIPE CHECKPOINT DATA SPLIT OUT."
# Of the log, warnings alone: fairseq writes its whole configuration to the terminal otherwise.
export LOGLEVEL=${LOGLEVEL:-WARNING}
# Left alone on a machine with several GPUs, fairseq-generate decodes the first GPU's share of the rows, and no more.
fairseq-generate "$data" --user-dir "$root/narvl" "${task[@]}" "${generation[@]}" "${device[@]}" \
    --distributed-world-size 1 --path "$checkpoint_path" --gen-subset "$split" --results-path "$out" "$@"
printf 'generated texts (lines D-ROW): %s/generate-%s.txt\n' "$out" "$split"

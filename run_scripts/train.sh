#!/usr/bin/env bash
# Trains a recipe of configs/: fairseq-train with the recipe's flags, then yours.
#
# Usage: run_scripts/train.sh RECIPE DATA SAVE_DIR [fairseq-train's flags...]
#
#   RECIPE    a file of configs/ without .sh, for example captioning/narvl_nano
#   DATA      folder with train.tsv, valid.tsv and the BPE files (or add --bpe-dir DIR)
#   SAVE_DIR  folder for the checkpoints; a stopped run goes on from its last one
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -ge 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

load_recipe "$1"
data=$2 save_dir=$3
shift 3
exec fairseq-train "$data" --user-dir "$root/narvl" \
    "${task[@]}" "${model[@]}" "${criterion[@]}" "${optimizer[@]}" "${schedule[@]}" \
    "${training[@]}" "${device[@]}" "${checkpoint[@]}" "${logging[@]}" --save-dir "$save_dir" "$@"

#!/usr/bin/env bash
# Decodes a split by a trained checkpoint and scores it by the task's metric: generate.sh, then narvl score.
#
# Usage: run_scripts/evaluate.sh RECIPE CHECKPOINT DATA SPLIT OUT [fairseq-generate's flags...] [-- narvl score's flags...]
#
#   RECIPE      the recipe it was trained by, for example vqa/narvl_base
#   CHECKPOINT  for example SAVE_DIR/checkpoint_best.pt; where the recipe averages weights (vqa), what narvl ema wrote
#   SPLIT       valid, test, testA, ...: DATA/SPLIT.tsv
#   OUT         folder for generate-SPLIT.txt, scores-SPLIT.json and, written last, scores-SPLIT.txt
#
# Splits that nobody has labelled are decoded; captions and answers are written as submission-SPLIT.json for the server.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -ge 5 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

recipe=$1 checkpoint_path=$2 data=$3 split=$4 out=$5
shift 5
decoding=()
while [[ $# -gt 0 && $1 != -- ]]; do
    decoding+=("$1")
    shift
done
[[ $# -eq 0 ]] || shift # the dashes; what is left goes to narvl score

"$scripts/generate.sh" "$recipe" "$checkpoint_path" "$data" "$split" "$out" "${decoding[@]}"

task_name=${recipe%%/*}
case $task_name in # the target's column
    captioning) column=3 ;;
    vqa | grounding) column=4 ;;
    entailment) column=6 ;;
esac
labelled() { grep -qm 1 . < <(cut -f "$column" "$data/$split.tsv"); }

scores=$out/scores-$split
score=(narvl score "$task_name" --results "$out/generate-$split.txt" --data "$data" --split "$split" "$@")
if labelled; then
    "${score[@]}" --json "$scores.json" | tee "$scores.txt.partial"
elif [[ $task_name == captioning || $task_name == vqa ]]; then
    id_column=1
    [[ $task_name == vqa ]] || id_column=2
    # Servers ask for numbers; rows of your own may have none, and the texts are there all the same.
    if grep -qvEm 1 '^(COCO_[a-z0-9]+_)?[0-9]+(\.jpg)?$' < <(cut -f "$id_column" "$data/$split.tsv"); then
        printf '%s/%s.tsv has no targets, and ids that no server knows: nothing was scored.\n' "$data" "$split" |
            tee "$scores.txt.partial"
    else
        "${score[@]}" --submission "$out/submission-$split.json" | tee "$scores.txt.partial"
    fi
else
    printf '%s/%s.tsv has no targets: nothing was scored.\n' "$data" "$split" | tee "$scores.txt.partial"
fi
mv "$scores.txt.partial" "$scores.txt"

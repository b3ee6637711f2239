#!/usr/bin/env bash
# A task from data to scores: autoregressive teacher, its targets (captioning, vqa), NARVL, and both on every split.
# Run it again to go on where it was stopped.
#
# Usage: run_scripts/pipeline.sh TASK SIZE DATA OUT [fairseq-train's flags...] [-- flags for NARVL's training alone...]
#
#   TASK  captioning, vqa, grounding, entailment
#   SIZE  tiny, base, large, huge; nano is for the embedded scenes
#   DATA  folder with train.tsv, valid.tsv, any other splits, and the BPE files
#   OUT   folder for everything it makes
#
# The flags go to both trainings, for example --finetune-from-model ofa_base.pt, --max-epoch 12, --batch-size 8; those of the
# task, such as --bpe-dir or --add-objects, to decoding as well. NARVL's own, such as --num-queries, stand behind two dashes.
# Where the task is distilled, NARVL starts from the teacher's weights; elsewhere both start alike. For a larger teacher run
# train.sh, distill.sh and evaluate.sh one by one. See train.sh --help for GPUs and --cpu.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -ge 4 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

data=$3 out=$4
recipes=("$1/ofa_$2" "$1/narvl_$2")
shift 4
both=()
while [[ $# -gt 0 && $1 != -- ]]; do
    both+=("$1")
    shift
done
[[ $# -eq 0 ]] || shift # the dashes; what is left is NARVL's
load_recipe "${recipes[1]}"
load_recipe "${recipes[0]}" "${both[@]}"

# What decoding must be told as well: the task's flags, and --cpu.
decoding=()
if on_cpu; then decoding=(--cpu); fi
for ((place = 0; place < ${#both[@]}; place++)); do
    case ${both[place]} in
        --add-objects | --add-caption | --skip-bad-rows) decoding+=("${both[place]}") ;;
        --bpe-dir | --patch-image-size | --max-image-size | --num-bins | --code-dict-size | --max-src-words | \
            --max-tgt-words | --max-objects) decoding+=("${both[@]:place:2}") ;;
    esac
done

splits=()
for file in "$data"/*.tsv; do
    split=$(basename "$file" .tsv)
    [[ $split == train* || $split == teacher ]] || splits+=("$split")
done
[[ ${#splits[@]} -gt 0 ]] || die "$data: no splits (valid.tsv, test.tsv, ...) to evaluate."

teacher=$out/teacher student=$out/narvl distilled=$out/distilled
student_data=$data student_start=()
stages=$((2 + 2 * ${#splits[@]}))
if [[ $task_name == captioning || $task_name == vqa ]]; then
    student_data=$distilled student_start=(--finetune-from-model "$teacher/best.pt")
    stages=$((stages + 1))
fi
mkdir -p "$out"

train() { # train RECIPE DATA RUN FLAGS...: ends with RUN/best.pt, of averaged weights where the recipe has them
    train_to_end "$@"
    if [[ ${#averaging[@]} -gt 0 ]]; then
        narvl ema "$3/checkpoint_best.pt" "$3/best.pt"
    else
        ln -sf checkpoint_best.pt "$3/best.pt"
    fi
}

stage 'autoregressive teacher' "$teacher/best.pt" train "${recipes[0]}" "$data" "$teacher" "${both[@]}"
if [[ $student_data == "$distilled" ]]; then
    stage "the teacher's texts as targets" "$distilled/train.tsv" \
        "$scripts/distill.sh" "${recipes[0]}" "$teacher/best.pt" "$data" "$distilled" "${decoding[@]}"
fi
stage NARVL "$student/best.pt" train "${recipes[1]}" "$student_data" "$student" "${both[@]}" "${student_start[@]}" "$@"
for split in "${splits[@]}"; do
    stage "teacher on $split" "$teacher/scores-$split.txt" \
        "$scripts/evaluate.sh" "${recipes[0]}" "$teacher/best.pt" "$data" "$split" "$teacher" "${decoding[@]}"
    stage "NARVL on $split" "$student/scores-$split.txt" \
        "$scripts/evaluate.sh" "${recipes[1]}" "$student/best.pt" "$data" "$split" "$student" "${decoding[@]}"
done
printf 'scores: %s/{teacher,narvl}/scores-*.txt\n' "$out"

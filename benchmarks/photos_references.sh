#!/usr/bin/env bash
# Learning from people's captions alone on real photos: plain Q-CTC, all references at once, its own texts, and distillation.
#
# Usage: benchmarks/photos_references.sh PHOTOS BPE_DIR OUT [MODEL...]
#
#   PHOTOS   folder with images/ and captions.csv (columns split,image,caption), several captions a photo
#   BPE_DIR  folder with GPT-2's encoder.json, vocab.bpe, dict.txt
#   OUT      folder for everything it makes; stopped half-way, it goes on where it was
#   MODEL    train these alone: ar distilled plain all intermediate token conditioned own (default: all); distilled needs ar
#            in OUT, own conditioned
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -ge 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
photos=$1 bpe=$2 out=$3 models=(ar distilled plain all intermediate token conditioned own)
[[ $# -eq 3 ]] || models=("${@:4}")
for model in "${models[@]}"; do
    case $model in
        ar | distilled | plain | all | intermediate | token | conditioned | own) ;;
        *) die "no model $model: give ar, distilled, plain, all, intermediate, token, conditioned or own." ;;
    esac
done
stages=$((2 + 2 * ${#models[@]}))
for model in "${models[@]}"; do # those that have texts of another model to learn from
    case $model in distilled | own) stages=$((stages + 1)) ;; esac
done
# Those without a teacher train for as many updates as teacher and student together.
teacher=400 student=200
mkdir -p "$out"

# updates NUMBER: the flags of so long a training; one row an image makes short epochs, so validation and checkpoints, from
# which a stopped training goes on, count updates.
updates() {
    printf '%s\n' --max-update "$1" --total-num-update "$1"
    printf '%s\n' --validate-interval 1000 --save-interval 1000 --save-interval-updates 100
}

# learn NAME RECIPE DATA UPDATES FLAGS...: train, decode the test photos, score.
learn() {
    local name=$1 recipe=$2 data=$3 flags
    mapfile -t flags < <(updates "$4")
    stage "$name: train" "$out/$name/done" train_to_end "$recipe" "$data" "$out/$name" "${flags[@]}" "${@:5}"
    stage "$name: decode and score" "$out/$name/scores-test.json" \
        "$scripts/evaluate.sh" "$recipe" "$out/$name/checkpoint_last.pt" "$out/all" test "$out/$name"
}

# distil NAME RECIPE: a model's texts as targets.
distil() {
    stage "$1: its texts as targets" "$out/$1-texts/train.tsv" \
        "$scripts/distill.sh" "$2" "$out/$1/checkpoint_last.pt" "$out/all" "$out/$1-texts"
}

stage 'photos' "$out/all/train.tsv" \
    narvl prepare photos --images "$photos/images" --captions "$photos/captions.csv" --out "$out/all" --bpe-dir "$bpe"
stage 'captions of a photo joined' "$out/grouped/train.tsv" narvl group --data "$out/all" --out "$out/grouped"

intermediate=(--references all --intermediate-layers 1)
for model in "${models[@]}"; do
    case $model in
        ar) learn ar captioning/ofa_photos "$out/all" "$teacher" ;;
        distilled)
            distil ar captioning/ofa_photos
            learn distilled captioning/narvl_photos "$out/ar-texts" "$student" \
                --finetune-from-model "$out/ar/checkpoint_last.pt"
            ;;
        plain) learn plain captioning/narvl_photos "$out/all" $((teacher + student)) ;;
        all) learn all captioning/narvl_photos "$out/grouped" $((teacher + student)) --references all ;;
        intermediate)
            learn intermediate captioning/narvl_photos "$out/grouped" $((teacher + student)) "${intermediate[@]}"
            ;;
        token)
            learn token captioning/narvl_photos "$out/grouped" $((teacher + student)) \
                "${intermediate[@]}" --reference-lenpen 1
            ;;
        conditioned)
            learn conditioned captioning/narvl_photos "$out/grouped" $((teacher + student)) \
                "${intermediate[@]}" --self-conditioned-layers 1
            ;;
        own)
            distil conditioned captioning/narvl_photos
            learn own captioning/narvl_photos "$out/conditioned-texts" "$student" \
                --finetune-from-model "$out/conditioned/checkpoint_last.pt"
            ;;
    esac
done

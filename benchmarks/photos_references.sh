#!/usr/bin/env bash
# Learning from people's captions alone on real photos: plain Q-CTC, all references at once, its own texts, and distillation.
#
# Usage: benchmarks/photos_references.sh PHOTOS BPE_DIR OUT [MODEL...]
#
#   PHOTOS   folder with images/ and captions.csv (columns split,image,caption), several captions a photo
#   BPE_DIR  folder with GPT-2's encoder.json, vocab.bpe, dict.txt
#   OUT      folder for everything it makes; stopped half-way, it goes on where it was
#   MODEL    train these alone: ar distilled plain all intermediate token conditioned own token_conditioned token_own (default:
#            all); distilled needs ar in OUT, own conditioned, token_own token_conditioned
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -ge 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
photos=$1 bpe=$2 out=$3
known=(ar distilled plain all intermediate token conditioned own token_conditioned token_own)
models=("${known[@]}")
[[ $# -eq 3 ]] || models=("${@:4}")
stages=$((2 + 2 * ${#models[@]}))
for model in "${models[@]}"; do
    [[ " ${known[*]} " == *" $model "* ]] || die "no model $model: give one or more of ${known[*]}."
    case $model in distilled | *own) stages=$((stages + 1)) ;; esac # they have texts of another model to learn from
done
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

# learn_from NAME TEACHER RECIPE: a model that goes on from a teacher's weights, on its texts; RECIPE is the teacher's.
learn_from() {
    stage "$2: its texts as targets" "$out/$2-texts/train.tsv" \
        "$scripts/distill.sh" "$3" "$out/$2/checkpoint_last.pt" "$out/all" "$out/$2-texts"
    learn "$1" captioning/narvl_photos "$out/$2-texts" "$student" --finetune-from-model "$out/$2/checkpoint_last.pt"
}

# without NAME DATA FLAGS...: a model without a teacher, for as many updates as teacher and student together.
without() { learn "$1" captioning/narvl_photos "$out/$2" $((teacher + student)) "${@:3}"; }

stage 'photos' "$out/all/train.tsv" \
    narvl prepare photos --images "$photos/images" --captions "$photos/captions.csv" --out "$out/all" --bpe-dir "$bpe"
stage 'captions of a photo joined' "$out/grouped/train.tsv" narvl group --data "$out/all" --out "$out/grouped"

middle=(--references all --intermediate-layers 1)
token=(--reference-lenpen 1)
listening=(--self-conditioned-layers 1)
for model in "${models[@]}"; do
    case $model in
        ar) learn ar captioning/ofa_photos "$out/all" "$teacher" ;;
        distilled) learn_from distilled ar captioning/ofa_photos ;;
        plain) without plain all ;;
        all) without all grouped --references all ;;
        intermediate) without intermediate grouped "${middle[@]}" ;;
        token) without token grouped "${middle[@]}" "${token[@]}" ;;
        conditioned) without conditioned grouped "${middle[@]}" "${listening[@]}" ;;
        own) learn_from own conditioned captioning/narvl_photos ;;
        token_conditioned) without token_conditioned grouped "${middle[@]}" "${token[@]}" "${listening[@]}" ;;
        token_own) learn_from token_own token_conditioned captioning/narvl_photos ;;
    esac
done

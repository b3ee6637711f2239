#!/usr/bin/env bash
# Real photos through the whole pipeline: prepare, train, decode, score; and whether the machinery learns a small set by heart.
#
# Usage: benchmarks/photos.sh PHOTOS BPE_DIR OUT
#
#   PHOTOS   folder with images/ and captions.csv (columns split,image,caption)
#   BPE_DIR  folder with GPT-2's encoder.json, vocab.bpe, dict.txt
#   OUT      folder for everything it makes; its memorised.json and scores.json are the figures
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -eq 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
photos=$1 bpe=$2 out=$3
scripts=$root/run_scripts

# train DATA RUN FLAGS...: the log beside the checkpoints tells the seed.
train() {
    mkdir -p "$2"
    "$scripts/train.sh" captioning/narvl_photos "$@" | tee "$2/train.log"
}

# By heart: 50 photos, one caption each, the same in training, validation and test.
python "$root/benchmarks/memorise.py" select --captions "$photos/captions.csv" --out "$out/fifty.csv" --count 50
narvl prepare photos --images "$photos/images" --captions "$out/fifty.csv" --out "$out/fifty" --bpe-dir "$bpe"
train "$out/fifty" "$out/fifty_run" --batch-size 25 --max-update 300 \
    --total-num-update 300 --validate-interval 50 --save-interval 150
"$scripts/generate.sh" captioning/narvl_photos "$out/fifty_run/checkpoint_last.pt" "$out/fifty" test "$out/fifty_run"
python "$root/benchmarks/memorise.py" count --data "$out/fifty" --results "$out/fifty_run/generate-test.txt" \
    --json "$out/memorised.json"

# All photos: 700 teach no general captioner; the test figures say how far it gets.
narvl prepare photos --images "$photos/images" --captions "$photos/captions.csv" --out "$out/all" --bpe-dir "$bpe"
train "$out/all" "$out/all_run" --max-update 100 --total-num-update 100 --warmup-updates 20
"$scripts/generate.sh" captioning/narvl_photos "$out/all_run/checkpoint_best.pt" "$out/all" test "$out/all_run"
narvl score captioning --results "$out/all_run/generate-test.txt" --data "$out/all" --split test --json "$out/scores.json"

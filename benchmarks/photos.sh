#!/usr/bin/env bash
# Whether the machinery learns a few real photos by heart: prepare, train, decode, compare.
#
# Usage: benchmarks/photos.sh PHOTOS BPE_DIR OUT
#
#   PHOTOS   folder with images/ and captions.csv (columns split,image,caption)
#   BPE_DIR  folder with GPT-2's encoder.json, vocab.bpe, dict.txt
#   OUT      folder for everything it makes; its memorised.json is the figure
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ $# -eq 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"
photos=$1 bpe=$2 out=$3

# By heart: 50 photos, one caption each, the same in training, validation and test; the log tells the seed.
python "$root/benchmarks/memorise.py" select --captions "$photos/captions.csv" --out "$out/fifty.csv" --count 50
narvl prepare photos --images "$photos/images" --captions "$out/fifty.csv" --out "$out/fifty" --bpe-dir "$bpe"
mkdir -p "$out/fifty_run"
"$scripts/train.sh" captioning/narvl_photos "$out/fifty" "$out/fifty_run" --batch-size 25 --max-update 300 \
    --total-num-update 300 --validate-interval 50 --save-interval 150 | tee "$out/fifty_run/train.log"
"$scripts/generate.sh" captioning/narvl_photos "$out/fifty_run/checkpoint_last.pt" "$out/fifty" test "$out/fifty_run"
python "$root/benchmarks/memorise.py" count --data "$out/fifty" --results "$out/fifty_run/generate-test.txt" \
    --json "$out/memorised.json"

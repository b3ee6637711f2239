# The nano model on your own photos: shows that the pipeline runs and learns.
# For a captioner that generalises, start from an OFA checkpoint (captioning/narvl_base).
# Command:  run_scripts/train.sh captioning/narvl_photos DATA SAVE_DIR     (DATA from: narvl prepare photos ...)
source "$root/configs/captioning/photos.sh"
model=(--arch narvl_nano --dropout 0.0 --num-queries 28)
criterion=(--criterion query_ctc --label-smoothing 0.0)
schedule=(--lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 50 --total-num-update 1000 --max-update 1000)
generation=(--batch-size 50)

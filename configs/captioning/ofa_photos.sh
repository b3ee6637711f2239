# The autoregressive nano model on your own photos: a teacher for captioning/narvl_photos, or a baseline.
# Command:  run_scripts/train.sh captioning/ofa_photos DATA SAVE_DIR     (DATA from: narvl prepare photos ...)
source "$root/configs/captioning/photos.sh"
task+=(--valid-generation-args '{"beam": 1, "max_len_b": 24}')
model=(--arch ofa_nano --dropout 0.0)
criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.0)
schedule=(--lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 50 --total-num-update 1000 --max-update 1000)
generation=(--beam 5 --max-len-b 24 --batch-size 50)

# The autoregressive baseline of the embedded scenes.
# Command:  run_scripts/train.sh grounding/ofa_nano DATA SAVE_DIR
#           (DATA from: narvl scenes --task grounding --out DATA)
source "$root/configs/grounding/scenes.sh"
model=(--arch ofa_nano --dropout 0.0)
criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.0)
schedule=(--lr 3e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1250 --max-update 1250)

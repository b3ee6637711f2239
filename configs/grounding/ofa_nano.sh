# The autoregressive baseline of the embedded scenes, from the model of vqa/ofa_pretraining.
# Command:  run_scripts/train.sh grounding/ofa_nano DATA SAVE_DIR --finetune-from-model PRETRAINED/checkpoint_best.pt
#           (DATA from: narvl scenes --task grounding --out DATA)
source "$root/configs/grounding/scenes.sh"
model=(--arch ofa_nano --dropout 0.0)
criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.0)
schedule=(--lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1200 --max-update 1200)

# The parallel model of the embedded scenes; no distillation, as in the paper.
# Command:  run_scripts/train.sh grounding/narvl_nano DATA SAVE_DIR
source "$root/configs/grounding/scenes.sh"
source "$root/configs/grounding/alignment.sh"
model=(--arch narvl_nano --dropout 0.0)
criterion=("${grounding_alignment[@]}" --label-smoothing 0.0)
schedule=(--lr 3e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1250 --max-update 1250)

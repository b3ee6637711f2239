# The parallel model of the embedded scenes, from the model of vqa/ofa_pretraining; no distillation, as in the paper.
# Command:  run_scripts/train.sh entailment/narvl_nano DATA SAVE_DIR --finetune-from-model PRETRAINED/checkpoint_best.pt
source "$root/configs/entailment/scenes.sh"
model=(--arch narvl_nano --dropout 0.0 --num-queries 2)
criterion=(--criterion query_ctc --label-smoothing 0.0)
schedule=(--lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 50 --total-num-update 600 --max-update 600)

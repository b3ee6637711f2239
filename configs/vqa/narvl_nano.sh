# The parallel student of the embedded scenes, starting from the teacher's weights:
# Command:  run_scripts/train.sh vqa/narvl_nano DISTILLED_DATA SAVE_DIR --finetune-from-model TEACHER/checkpoint_best.pt
source "$root/configs/vqa/scenes.sh"
model=(--arch narvl_nano --dropout 0.0 --num-queries 6)
criterion=(--criterion query_ctc --label-smoothing 0.0)
schedule=(--lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 50 --total-num-update 600 --max-update 600)

# The parallel student of the embedded scenes, starting from the teacher's weights:
# Command:  run_scripts/train.sh captioning/narvl_nano DISTILLED_DATA SAVE_DIR \
#               --restore-file TEACHER/checkpoint_best.pt --reset-optimizer --reset-dataloader --reset-meters --reset-lr-scheduler
source "$root/configs/captioning/scenes.sh"
model=(--arch narvl_nano --dropout 0.0 --num-queries 18)
criterion=(--criterion query_ctc --label-smoothing 0.0)
schedule=(--lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1500 --max-update 1500)

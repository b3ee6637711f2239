# NARVL-base on COCO captions distilled by the teacher. Not run here.
# Command:  run_scripts/train.sh captioning/narvl_base DISTILLED_DATA SAVE_DIR --bpe-dir BPE \
#               --finetune-from-model TEACHER/checkpoint_best.pt
source "$root/configs/captioning/coco.sh"
model=(--arch narvl_base "${regularisation[@]}" --freeze-embedding --num-queries 20)
criterion=(--criterion query_ctc --label-smoothing 0.1)
# 113,287 teacher captions, one an image: 886 updates an epoch, 5 epochs, 6% of them warm-up.
schedule=(--lr 1e-5 --lr-scheduler polynomial_decay --warmup-updates 266 --total-num-update 4430 --max-epoch 5)

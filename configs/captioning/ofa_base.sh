# OFA-base fine-tuned on COCO captions: the teacher, and the paper's autoregressive baseline. Not run here.
# Command:  run_scripts/train.sh captioning/ofa_base DATA SAVE_DIR --bpe-dir BPE \
#               --finetune-from-model ofa_base.pt
source "$root/configs/captioning/coco.sh"
model=(--arch ofa_base "${regularisation[@]}" --freeze-embedding)
criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.1)
# 566,747 human captions: 4,428 updates an epoch, 5 epochs, 6% of them warm-up.
schedule=(--lr 1e-5 --lr-scheduler polynomial_decay --warmup-updates 1328 --total-num-update 22140 --max-epoch 5)

# One autoregressive nano model of captions, questions and hypotheses, from which both models of each task start: what OFA's
# pretraining is to its fine-tuning. It goes on from an autoregressive captioner, which sees, but has been asked nothing.
# Command:  run_scripts/train.sh vqa/ofa_pretraining DATA SAVE_DIR --finetune-from-model CAPTIONER/checkpoint_best.pt
#           (DATA from: narvl scenes --task pretraining --out DATA)
source "$root/configs/vqa/scenes.sh"
task+=(--no-valid-generation)
model=(--arch ofa_nano --dropout 0.0)
criterion=(--criterion weighted_cross_entropy --label-smoothing 0.0)
schedule=(--lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 2500 --max-update 1500)
training+=(--batch-size 96)
checkpoint=(--no-epoch-checkpoints --save-interval-updates 250 --keep-interval-updates 1 --best-checkpoint-metric loss)

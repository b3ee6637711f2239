# The nano model on your own photos, with GPT-2's BPE, from scratch on a CPU: shows that the pipeline runs and learns.
# For a captioner that generalises, start from an OFA checkpoint (captioning/narvl_base).
# Command:  run_scripts/train.sh captioning/narvl_photos DATA SAVE_DIR     (DATA from: narvl prepare photos ...)
task=(--task captioning --patch-image-size 96 --code-dict-size 0 --num-bins 0)
model=(--arch narvl_nano --dropout 0.0 --num-queries 28)
criterion=(--criterion query_ctc --label-smoothing 0.0)
optimizer=(--optimizer adam --adam-betas '(0.9, 0.999)' --weight-decay 0.0 --clip-norm 1.0)
schedule=(--lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 50 --total-num-update 1000 --max-update 1000)
training=(--batch-size 32 --batch-size-valid 50 --num-workers 1 --seed 1)
device=(--cpu)
checkpoint=(--best-checkpoint-metric cider --maximize-best-checkpoint-metric --no-epoch-checkpoints --keep-interval-updates 1)
logging=(--log-interval 25)
generation=(--batch-size 50)

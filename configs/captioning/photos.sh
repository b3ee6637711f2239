# What both nano models share on your own photos, with GPT-2's BPE, from scratch on a CPU.
task=(--task captioning --patch-image-size 96 --code-dict-size 0 --num-bins 0)
optimizer=(--optimizer adam --adam-betas '(0.9, 0.999)' --weight-decay 0.0 --clip-norm 1.0)
training=(--batch-size 32 --batch-size-valid 50 --num-workers 1 --seed 1)
device=(--cpu)
checkpoint=(--best-checkpoint-metric cider --maximize-best-checkpoint-metric --no-epoch-checkpoints --keep-interval-updates 1)
logging=(--log-interval 25)

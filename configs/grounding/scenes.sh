# What both nano models share on the embedded scenes: task, optimiser, checkpoints, logging.
task=(--task grounding --patch-image-size 64 --max-image-size 64 --code-dict-size 0 --num-bins 64)
optimizer=(--optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 0.01 --clip-norm 1.0)
training=(--batch-size 64 --batch-size-valid 100 --num-workers 1 --seed 1)
device=(--cpu)
checkpoint=(
    --no-epoch-checkpoints --save-interval-updates 200 --keep-interval-updates 1
    --best-checkpoint-metric acc_at_0.5 --maximize-best-checkpoint-metric
)
logging=(--log-interval 50)
generation=(--beam 5 --batch-size 100)

# The paper's settings for captioning on COCO (Karpathy split), shared by teacher and student. Effective batch 128: 8 GPUs
# x 16 here; raise --update-freq where there are fewer.
task=(--task captioning --patch-image-size 480 --max-tgt-words 20)
optimizer=(--optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-8 --weight-decay 0.01 --clip-norm 1.0)
training=(--batch-size 16 --update-freq 1 --num-workers 4 --seed 7 --fp16 --fp16-scale-window 512)
checkpoint=(--best-checkpoint-metric cider --maximize-best-checkpoint-metric --keep-last-epochs 1)
logging=(--log-interval 50 --log-format simple)
generation=(--beam 5 --max-len-b 16 --no-repeat-ngram-size 3 --batch-size 16)
regularisation=(--dropout 0.1 --attention-dropout 0.0 --encoder-drop-path-rate 0.1 --decoder-drop-path-rate 0.1)

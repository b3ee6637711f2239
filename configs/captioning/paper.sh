# The paper's settings for captioning (COCO, Karpathy's split). The student trains on the teacher's captions.
# Command:  run_scripts/pipeline.sh captioning base DATA OUT --finetune-from-model ofa_base.pt
image_size=480 epochs=5 effective_batch=128 lr=1e-5 warmup_ratio=0.06 label_smoothing=0.1
task=(--task captioning --max-tgt-words 20)
frozen=(--freeze-embedding)
parallel=(--num-queries 20 --criterion query_ctc)
autoregressive_criterion=label_smoothed_cross_entropy
max_len_b=16
autoregressive_decoding=(--no-repeat-ngram-size 3)

# The paper's settings for VQA (VQAv2; GQA's data train by the same recipe). The student trains on the teacher's answers.
# Command:  run_scripts/pipeline.sh vqa base DATA OUT --finetune-from-model ofa_base.pt
# The baseline among candidate answers: generate.sh ... --candidates FILE --candidate-search trie (or all).
image_size=480 epochs=10 effective_batch=512 lr=5e-5 warmup_ratio=0.04 label_smoothing=0.1
task=(--task vqa --max-src-words 80 --add-objects --max-objects 30)
frozen=(--freeze-embedding)
# fairseq-generate reads a checkpoint's own weights, not their average: narvl ema takes it out. In half precision the
# steps of such an average are lost.
averaging=(--store-ema --ema-decay 0.9999 --ema-fp32)
parallel=(--num-queries 6 --criterion query_ctc)
autoregressive_criterion=weighted_cross_entropy # annotators' agreement weighs the answers
max_len_b=20
autoregressive_decoding=(--unnormalized)

# The paper's settings for entailment (SNLI-VE), with the image's caption in the prompt; no distillation.
# Command:  run_scripts/pipeline.sh entailment base DATA OUT --finetune-from-model ofa_base.pt
# The baseline among the three answers: generate.sh ... --candidate-search trie (or all).
image_size=480 epochs=5 effective_batch=256 lr=5e-5 warmup_ratio=0.06 label_smoothing=0.0
task=(--task entailment --max-src-words 80 --add-caption)
frozen=()
parallel=(--num-queries 2 --criterion query_ctc) # the paper's number; its released script has 3
autoregressive_criterion=label_smoothed_cross_entropy
max_len_b=2 # yes, no or maybe, and the end
autoregressive_decoding=(--unnormalized)

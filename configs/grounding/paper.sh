# The paper's settings for grounding (RefCOCO, RefCOCO+, RefCOCOg); no distillation.
# Command:  run_scripts/pipeline.sh grounding base DATA OUT --finetune-from-model ofa_base.pt
# RefCOCOg trains for 12 epochs: add --max-epoch 12.
source "$root/configs/grounding/alignment.sh"
image_size=512 epochs=10 effective_batch=128 lr=5e-5 warmup_ratio=0.06 label_smoothing=0.1
task=(--task grounding --max-src-words 80 --max-image-size 512)
frozen=()
parallel=("${grounding_alignment[@]}")
autoregressive_criterion=label_smoothed_cross_entropy
max_len_b=4 # a box; the task sees to it that none is shorter or longer
autoregressive_decoding=()

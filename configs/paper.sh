# What the recipes of the paper share, around the values that configs/TASK/paper.sh has set. Not run here: it takes GPUs,
# OFA's checkpoints and the public data sets. Sourced by load_recipe, which sets family (ofa, narvl) and size.

# Samples that one GPU takes at a time in training, a guess for 40 GB; --batch-size gives another. The effective batch stays.
case $size in
    tiny) gpu_batch=32 ;;
    base) gpu_batch=16 ;;
    large) gpu_batch=8 ;;
    huge) gpu_batch=4 ;;
esac

# In validation, greedy decoding chooses among the checkpoints of the autoregressive model.
task+=(--patch-image-size "$image_size" --valid-generation-args "{\"beam\": 1, \"max_len_b\": $max_len_b}")
model=(
    --arch "${family}_$size" "${frozen[@]}" --dropout 0.1 --attention-dropout 0.0
    --encoder-drop-path-rate 0.1 --decoder-drop-path-rate 0.1 --resnet-drop-path-rate 0.0
)
generation=(--batch-size "$gpu_batch")
case $family in
    ofa)
        criterion=(--criterion "$autoregressive_criterion" --label-smoothing "$label_smoothing")
        generation+=(--beam 5 --max-len-b "$max_len_b" "${autoregressive_decoding[@]}")
        ;;
    narvl) criterion=("${parallel[@]}" --label-smoothing "$label_smoothing") ;;
esac
optimizer=(--optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-8 --weight-decay 0.01 --clip-norm 1.0)
schedule=(--lr "$lr" --lr-scheduler polynomial_decay --max-epoch "$epochs")
training=(--batch-size "$gpu_batch" --num-workers 4 --seed 7)
device=(--fp16 --fp16-scale-window 512)
checkpoint=(--no-epoch-checkpoints --best-checkpoint-metric "$metric" --maximize-best-checkpoint-metric)
logging=(--log-interval 50 --log-format simple)

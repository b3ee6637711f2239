#!/usr/bin/env bash
# Trains a recipe of configs/: fairseq-train with the recipe's flags, then yours, on one or more GPUs and machines.
#
# Usage: run_scripts/train.sh RECIPE DATA SAVE_DIR [fairseq-train's flags...]
#
#   RECIPE    TASK/FAMILY_SIZE, for example captioning/narvl_nano or vqa/ofa_base; an unknown one lists them all
#   DATA      folder with train.tsv, valid.tsv and the BPE files (or add --bpe-dir DIR)
#   SAVE_DIR  folder for the checkpoints; a stopped run goes on from its last one
#
# The published sizes keep their effective batch on any number of GPUs: --batch-size is what fits on one GPU, and
# --update-freq, --total-num-update and --warmup-updates are worked out (narvl schedule) and printed. Given by you, the last
# three are kept; a smaller --max-update ends the run and its learning rate there. --cpu trains without GPUs.
#
# Environment:
#   NPROC        processes on this machine (default: its GPUs; with --cpu, 1)
#   NNODES       machines (default: 1). Start the same command on each, with
#   NODE_RANK      its number, from 0,
#   MASTER_ADDR    the address of number 0,
#   MASTER_PORT    a free port there (default: 29500).
#   DRY_RUN      1: print the command instead of running it
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -ge 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

load_recipe "$1" "${@:4}"
data=$2 save_dir=$3
[[ ! -e $save_dir || -d $save_dir ]] || die "SAVE_DIR $save_dir: a file. Give a folder; the order is RECIPE DATA SAVE_DIR."
shift 3
count_processes
processes=$((nnodes * nproc))

plan=()
if [[ -n $effective_batch ]]; then
    planned=$(narvl schedule --data "$data" --task "$task_name" --effective-batch "$effective_batch" \
        --warmup-ratio "$warmup_ratio" --processes "$processes" -- "${training[@]}" "${schedule[@]}" "${device[@]}" "$@")
    mapfile -t plan <<<"$planned"
    printf '%s\n' "${plan[0]}"
    plan=("${plan[@]:1}")
fi

# Left alone, fairseq starts a process for each GPU of the machine, and none on other machines where each has one GPU.
cluster=(--distributed-world-size "$processes")
launcher=(fairseq-train)
if ((processes > 1)); then
    cluster+=(--distributed-init-method env:// --distributed-no-spawn)
    if on_cpu; then cluster+=(--distributed-backend gloo --ddp-backend legacy_ddp); fi
    rendezvous=(--standalone)
    if ((nnodes > 1)); then
        [[ -n ${NODE_RANK:-} && -n ${MASTER_ADDR:-} ]] || die "NNODES=$nnodes needs NODE_RANK and MASTER_ADDR (see --help)."
        rendezvous=(--nnodes "$nnodes" --node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "${MASTER_PORT:-29500}")
    fi
    # torchrun tells each process its number in the environment; fairseq, where there is no GPU, takes it as a flag only.
    ranked='exec fairseq-train "$@" --distributed-rank "$RANK" --device-id "$LOCAL_RANK"'
    launcher=(torchrun "${rendezvous[@]}" --nproc-per-node "$nproc" --no-python bash -c "$ranked" fairseq-train)
fi

command=(
    "${launcher[@]}" "$data" --user-dir "$root/narvl"
    "${task[@]}" "${model[@]}" "${criterion[@]}" "${optimizer[@]}" "${averaging[@]}" "${schedule[@]}"
    "${training[@]}" "${device[@]}" "${checkpoint[@]}" "${logging[@]}" --save-dir "$save_dir" "$@"
    "${plan[@]}" "${cluster[@]}"
)
if [[ ${DRY_RUN:-} == 1 ]]; then
    printf '%q ' "${command[@]}"
    printf '\n'
    exit
fi
exec "${command[@]}"

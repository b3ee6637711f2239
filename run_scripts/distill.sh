#!/usr/bin/env bash
# Makes a student's data folder: the teacher decodes the training set, and its texts become the targets (narvl distill).
#
# Usage: run_scripts/distill.sh RECIPE CHECKPOINT DATA OUT [--shard-id I --num-shards K] [--confidence]
#                               [fairseq-generate's flags...]
#
#   RECIPE        the teacher's recipe: captioning/ofa_* or vqa/ofa_*; a parallel model's (narvl_*) makes its own texts the targets
#   CHECKPOINT    the teacher; where the recipe averages weights (vqa), what narvl ema wrote
#   DATA          folder with train.tsv
#   OUT           the student's data folder; a stopped run goes on where it was
#   --shard-id    decode this part of the rows alone (from 0), for example on one of several machines that share OUT
#   --num-shards  number of parts. Once all are there, narvl distill targets --out OUT ends the work.
#   --confidence  vqa: weigh each row by the probability of the teacher's answer; of an autoregressive teacher
#
# Without --shard-id, every GPU of the machine decodes a part (NPROC: number of parts), and the targets are written.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[[ $# -ge 4 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

family=${1##*/} family=${family%%_*}
load_recipe "$1" "${@:5}"
checkpoint_path=$2 data=$3 out=$4
shift 4
shard_id='' num_shards='' confidence=() flags=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --shard-id | --num-shards)
            [[ $# -ge 2 ]] || die "$1 needs a number."
            if [[ $1 == --shard-id ]]; then shard_id=$2; else num_shards=$2; fi
            shift
            ;;
        --confidence) confidence=(--confidence) ;;
        *) flags+=("$1") ;;
    esac
    shift
done
[[ -n $shard_id && -n $num_shards || -z $shard_id$num_shards ]] || die 'give --shard-id and --num-shards together.'
[[ -z $shard_id || ${#confidence[@]} -eq 0 ]] || die '--confidence belongs to narvl distill targets, after the last shard.'

# A parallel model's search tells the probability of one path of a text, not of the text.
[[ $family == ofa || ${#confidence[@]} -eq 0 ]] || die '--confidence needs an autoregressive teacher (vqa/ofa_*).'

mkdir -p "$out"
{ # several shards may begin at a time; one of them writes the rows
    flock 9
    [[ -f $out/distill.json ]] || narvl distill rows --task "$task_name" --data "$data" --out "$out"
} 9>"$out/rows.lock"

export LOGLEVEL=${LOGLEVEL:-WARNING}
decode() { # decode SHARD_ID NUM_SHARDS
    narvl distill decode --out "$out" --shard-id "$1" --num-shards "$2" -- \
        "${task[@]}" "${generation[@]}" "${device[@]}" --path "$checkpoint_path" "${flags[@]}"
}

if [[ -n $shard_id ]]; then
    decode "$shard_id" "$num_shards"
    exit
fi

count_processes
if ((nproc == 1)); then
    decode 0 1
else
    IFS=, read -ra visible <<<"${CUDA_VISIBLE_DEVICES:-}"
    trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # a shard in the background does not hear Ctrl-C
    for ((shard = 0; shard < nproc; shard++)); do
        CUDA_VISIBLE_DEVICES=${visible[shard]:-$shard} decode "$shard" "$nproc" &
    done
    for process in $(jobs -p); do wait "$process"; done
    trap - EXIT
fi
narvl distill targets --out "$out" "${confidence[@]}"

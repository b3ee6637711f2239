#!/usr/bin/env bash
# Every measurement of benchmarks/speed, one after the other, into results/speed_*.json and .svg; then the README's tables.
# Stopped half-way, it goes on where it was. Leave the machine alone meanwhile: other work makes the times longer.
#
# Usage: benchmarks/speed.sh [cpu|cuda] [THREADS]
#
#   cpu      (default) tiny and base, 384 and 480 px, all tasks, batch 1; base also at 8 and 32; hours on 2 cores
#   cuda     base and huge, 480 px, bf16, with and without CUDA graphs
#   THREADS  CPU threads (default: the cores)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../run_scripts/env.sh"
[[ ${1:-} != -* && $# -le 2 ]] || usage "${BASH_SOURCE[0]}" "$@"
device=${1:-cpu} threads=${2:-$(nproc)} speed=$root/benchmarks/speed
case $device in cpu | cuda) ;; *) die "no device $device: give cpu or cuda." ;; esac

measure() { # measure NAME FLAGS...: one benchmark, with the threads that all have in common
    local name=$1
    shift
    printf 'speed: %s %s\n' "$name" "$*"
    python "$speed/$name.py" --threads "$threads" "$@"
}

if [[ $device == cpu ]]; then
    measure floor
    measure encoder
    measure latency --sizes tiny base --sides 384 480
    few=(ar5-fairseq ar5-optimised ar1-optimised narvl)
    measure latency --sizes base --sides 384 480 --batches 8 32 --rounds 5 --decoders "${few[@]}"
    measure loss --batches 1 8 32 128
    measure references
    measure teacher_free --sizes tiny base
    measure training --sizes tiny base --batches 1 4
    measure generation --sizes tiny base
    measure loading
else
    out=$root/results
    gpu=(--device cuda --sizes base huge --sides 480)
    measure floor "${gpu[@]}" --dtype bfloat16 --out "$out/speed_floor_cuda.json"
    measure encoder "${gpu[@]}" --rounds 25 --out "$out/speed_encoder_cuda.json"
    batches=(--batches 1 8 64 --rounds 25)
    measure latency "${gpu[@]}" --dtype bfloat16 "${batches[@]}" --out "$out/speed_latency_cuda.json"
    measure latency "${gpu[@]}" --dtype bfloat16 "${batches[@]}" --inference-compile cuda-graphs --out "$out/speed_latency_cuda_graphs.json"
    measure loss --device cuda --batches 1 8 32 128 --rounds 25 --out "$out/speed_loss_cuda.json"
    measure references --device cuda --batches 8 32 128 --rounds 25 --out "$out/speed_references_cuda.json"
    measure teacher_free "${gpu[@]}" --precision amp --batches 4 16 --out "$out/speed_teacher_free_cuda.json"
    measure training "${gpu[@]}" --precision amp --batches 1 4 16 --out "$out/speed_training_cuda.json"
fi
python "$root/benchmarks/tables.py"

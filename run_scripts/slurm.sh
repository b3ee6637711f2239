#!/usr/bin/env bash
# Trains a recipe on several machines under Slurm: an example to adapt. Each machine runs train.sh, which starts a process a GPU.
#
# Usage, from the repository: sbatch run_scripts/slurm.sh RECIPE DATA SAVE_DIR [fairseq-train's flags...]
#
# The folders must be on a disk that all machines see. A stopped job goes on from its last checkpoint: submit it again.
#SBATCH --job-name=narvl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=40
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.log
set -euo pipefail
# Slurm runs a copy of this file, so that it cannot tell where the repository is.
scripts=${SLURM_SUBMIT_DIR:+$SLURM_SUBMIT_DIR/run_scripts}
scripts=${scripts:-$(dirname "${BASH_SOURCE[0]}")}
[[ -f $scripts/env.sh ]] || { printf 'submit it from the repository\n' >&2 && exit 2; }
source "$scripts/env.sh"
[[ $# -ge 3 && $1 != -* ]] || usage "${BASH_SOURCE[0]}" "$@"

NNODES=$SLURM_JOB_NUM_NODES
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # jobs that share a machine must not meet
export NNODES MASTER_ADDR MASTER_PORT
srun --kill-on-bad-exit=1 bash -c 'NODE_RANK=$SLURM_NODEID exec "$@"' srun "$scripts/train.sh" "$@"

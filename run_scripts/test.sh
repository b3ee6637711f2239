#!/usr/bin/env bash
# Checks everything: set-up, style (ruff), types (mypy), tests (pytest). Stops at the first that fails.
#
# Usage: run_scripts/test.sh [--all] [pytest's arguments...]
#
#   --all  the slow tests too
#   Other arguments go to pytest, for example a file's name, "-k name", or "-n 0" for one process.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

selection=()
case ${1:-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --all) selection=(-m "slow or not slow"); shift ;;
esac

"$root/run_scripts/setup.sh"
cd "$root"
export PATH="$root/.venv/bin:$PATH"
# One thread a process: pytest runs two of them, and torch's threads would only wait for each other's cores.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

check() { # check COMMAND...: named, so that the output says which one failed
    printf 'test: %s\n' "$*"
    "$@"
}
check ruff check
check ruff format --check
check mypy
check python -m pytest -n 2 --dist loadfile ${selection[@]+"${selection[@]}"} "$@"

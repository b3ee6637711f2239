# Sourced by the other scripts: the project's environment, and the functions they share.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PATH="$root/.venv/bin:$PATH"
# OpenMP's threads spin while they wait: for long, and a busy machine loses most of its time; not at all, and two cores are
# no faster than one. This many turns keep nearly the whole speed-up.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-20000}
# fairseq's older calls into hydra and torch warn at every start, of nothing that a user could change.
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore}

# usage FILE ARGUMENTS...: print a script's header and stop; an error unless help was asked for.
usage() {
    local file=$1
    shift
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$file"
    [[ ${1:-} == -h || ${1:-} == --help ]] && exit 0
    exit 2
}

# load_recipe NAME: set the arrays of flags that configs/NAME.sh defines.
load_recipe() {
    local file="$root/configs/$1.sh"
    if [[ ! -f $file ]]; then
        printf 'no recipe %s; there are:\n' "$1" >&2
        (cd "$root/configs" && find . -name '*_*.sh' | sed 's|^\./|  |; s|\.sh$||' | sort) >&2
        exit 2
    fi
    device=() # --cpu where the recipe is for a CPU; fairseq finds GPUs by itself
    source "$file"
}

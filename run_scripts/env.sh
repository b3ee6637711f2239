# Sourced by the other scripts: the project's environment, and the functions they share.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
scripts=$root/run_scripts
export PATH="$root/.venv/bin:$PATH"
# OpenMP's threads spin while they wait: for long, and a busy machine loses most of its time; not at all, and two cores are
# no faster than one. This many turns keep nearly the whole speed-up.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-20000}
# fairseq's older calls into hydra and torch warn at every start, of nothing that a user could change.
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore}

# The published sizes, for which configs/TASK/paper.sh is a recipe.
sizes=(tiny base large huge)

# usage FILE ARGUMENTS...: print a script's header and stop; an error unless help was asked for.
usage() {
    local file=$1
    shift
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$file"
    [[ ${1:-} == -h || ${1:-} == --help ]] && exit 0
    exit 2
}

# die MESSAGE: end with an error of the user's.
die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 2
}

# metric_of_task TASK: set metric, the name under which validation logs the task's metric, and metric_title, for people.
metric_of_task() {
    case $1 in
        captioning) metric=cider metric_title=CIDEr ;;
        vqa) metric=vqa_accuracy metric_title=accuracy ;;
        grounding) metric=acc_at_0.5 metric_title=Acc@0.5 ;;
        entailment) metric=accuracy metric_title=accuracy ;;
        *) die "no task $1: give captioning, vqa, grounding or entailment." ;;
    esac
}

# recipe_names: every name that load_recipe knows.
recipe_names() {
    local file task family size
    {
        for file in "$root"/configs/*/*_*.sh; do
            file=${file#"$root/configs/"}
            printf '%s\n' "${file%.sh}"
        done
        for file in "$root"/configs/*/paper.sh; do
            task=$(basename "$(dirname "$file")")
            for family in ofa narvl; do
                for size in "${sizes[@]}"; do printf '%s/%s_%s\n' "$task" "$family" "$size"; done
            done
        done
    } | sort
}

# load_recipe NAME FLAGS...: set task_name, and the arrays of flags of a recipe, TASK/FAMILY_SIZE. It is configs/NAME.sh, or for a
# published size what configs/TASK/paper.sh says and configs/paper.sh makes of it. FLAGS are the user's.
load_recipe() {
    local name=$1
    shift
    task_name=${name%%/*}
    # A recipe sets the first where its length depends on the training rows; train.sh then plans it.
    effective_batch='' averaging=() device=()
    if ! grep -qxF -- "$name" < <(recipe_names); then
        printf 'no recipe %s; there are:\n' "$name" >&2
        recipe_names | sed 's/^/  /' >&2
        exit 2
    elif [[ -f $root/configs/$name.sh ]]; then
        source "$root/configs/$name.sh"
    else
        local model_name=${name##*/}
        local family=${model_name%%_*} size=${model_name##*_} metric metric_title
        metric_of_task "$task_name"
        source "$root/configs/$task_name/paper.sh"
        source "$root/configs/paper.sh"
    fi
    # Half precision is for GPUs.
    local flag
    for flag; do
        if [[ $flag == --cpu ]]; then device=(--cpu); fi
    done
}

# on_cpu: whether the recipe, or the user, says so.
on_cpu() { [[ " ${device[*]} " == *" --cpu "* ]]; }

# count_processes: set nnodes (machines) and nproc (GPUs of each, or processes where there is no GPU), by default one
# machine and what it has.
count_processes() {
    nnodes=${NNODES:-1} nproc=${NPROC:-}
    if [[ -z $nproc ]] && on_cpu; then
        nproc=1
    elif [[ -z $nproc ]]; then
        nproc=$(python -c 'import torch; print(torch.cuda.device_count())')
        [[ $nproc -gt 0 ]] || die 'no GPU here, which the recipe is for. Add --cpu to try it without one (slow).'
    fi
    [[ $nnodes =~ ^[1-9][0-9]*$ ]] || die "NNODES=$nnodes: give the number of machines."
    [[ $nproc =~ ^[1-9][0-9]*$ ]] || die "NPROC=$nproc: give the number of processes on each machine."
}

# stage TITLE DONE_FILE COMMAND...: run a command once; its last file tells that it was. Needs out, the folder for
# everything, and stages, their number.
stage_number=0
stage() {
    local title=$1 done_file=$2
    shift 2
    stage_number=$((stage_number + 1))
    if [[ -f $done_file ]]; then
        printf '[%s/%s] %s: done before\n' "$stage_number" "$stages" "$title"
        return
    fi
    local start=$SECONDS
    printf '[%s/%s] %s\n' "$stage_number" "$stages" "$title"
    "$@"
    printf '      %d s\n' $((SECONDS - start))
    printf '%s\t%d\n' "$title" $((SECONDS - start)) >>"$out/seconds.tsv"
}

# train_to_end RECIPE DATA SAVE_DIR FLAGS...: train.sh, whose whole log goes to a file, its plan and the validation to the
# terminal; SAVE_DIR/done tells that it came to its end.
train_to_end() {
    local save_dir=$3 log=$3/train.log metric metric_title
    mkdir -p "$save_dir"
    metric_of_task "${1%%/*}"
    local told="s/.*valid on .*\\| loss ([0-9.]+) .*\\| $metric ([0-9.]+) .*num_updates ([0-9]+).*/      update \\3: loss \\1, $metric_title \\2/p"
    if ! "$scripts/train.sh" "$@" > >(tee -a "$log" | sed -u -n -E -e "$told" -e 's/^[0-9,]+ updates of /      &/p'); then
        printf 'training failed; the last lines of %s:\n' "$log" >&2
        tail -n 5 "$log" >&2
        exit 1
    fi
    touch "$save_dir/done"
}

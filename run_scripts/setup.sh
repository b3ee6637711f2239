#!/usr/bin/env bash
# Builds .venv in the repository root: torch, fairseq, the packages of requirements.txt, and narvl itself.
# Run again, it ends at once unless requirements.txt or setup.py has changed.
#
# Usage: run_scripts/setup.sh [--help]
#
# Needs:    CPython 3.11 or 3.12 with its venv module; a network connection for pip; 2 GB of disk
#           (8 GB where pip's torch is the CUDA build); g++ and Python's C headers to build fairseq
#           (not with CPython 3.12 on x86-64 Linux, for which fairseq has a wheel).
# Optional: Java (METEOR, SPICE and the official caption tokeniser).
#
# Environment:
#   PYTHON       the Python to build with. Default: the one .venv was built with, else the first that fits of
#                python3, python3.11, python3.12.
#   NARVL_TORCH  another torch than the tested one, 2.6 or newer, with pip's options if it needs any, for example
#                NARVL_TORCH="torch==2.9.1 --index-url URL". Default: what .venv was built with, else requirements.txt's.
#   pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) are honoured.
set -euf -o pipefail  # -f: lists of packages are split into words, but '*' in one is no file name

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
log=$venv/setup.log
stamp=$venv/setup.stamp          # what .venv was built from; written last
torch_choice=$venv/setup.torch   # the NARVL_TORCH it was built with; marks .venv as this script's

say() { printf '%s\n' "$*"; }
die() { printf 'setup.sh: %s\n' "$*" >&2; exit 2; }

case ${1:-} in
    "") ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown argument '$1'. Call it without arguments, or with --help." ;;
esac

# --- Which Python -----------------------------------------------------------------------------------------------------

version_of() { "$1" -c 'import platform; print(platform.python_implementation(), platform.python_version())' 2>/dev/null; }
fits() { case $(version_of "$1") in "CPython 3.11."* | "CPython 3.12."*) true ;; *) false ;; esac; }

choose_python() {
    local candidate found
    if [ -n "${PYTHON:-}" ]; then
        found=$(version_of "$PYTHON") || die "PYTHON=$PYTHON is not a Python that runs; narvl needs CPython 3.11 or 3.12."
        fits "$PYTHON" || die "PYTHON=$PYTHON is '$found'; narvl needs CPython 3.11 or 3.12."
        printf '%s' "$PYTHON"
        return
    fi
    for candidate in "$venv/bin/python" python3 python3.11 python3.12; do
        if fits "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    die "no CPython 3.11 or 3.12 found (python3 is '$(version_of python3 || echo missing)'). Install one" \
        "(Debian, Ubuntu: apt-get install python3.11 python3.11-venv python3.11-dev), or name it: PYTHON=/path/to/python3.11 $0"
}

python=$(choose_python)
python_version=$(version_of "$python")

# --- Is there anything to do ------------------------------------------------------------------------------------------

torch=${NARVL_TORCH:-$(cat "$torch_choice" 2>/dev/null || true)}
sources=$(cat "$root/requirements.txt" "$root/setup.py" "${BASH_SOURCE[0]}" | cksum)
wanted="$python_version, torch '$torch', $root, $sources"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    say "setup: $venv is up to date ($python_version)"
    exit 0
fi

# --- What is missing --------------------------------------------------------------------------------------------------

"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python_version has no venv module. Debian, Ubuntu: apt-get install python3-venv (under 10 MB)."

need_compiler=yes
case "$python_version $(uname -sm)" in "CPython 3.12."*" Linux x86_64") need_compiler=no ;; esac
if [ $need_compiler = yes ]; then
    command -v "${CXX:-g++}" >/dev/null ||
        die "no C++ compiler (${CXX:-g++}), which fairseq's build needs. Debian, Ubuntu: apt-get install g++" \
            "(about 60 MB to download, 250 MB of disk), or use CPython 3.12 on x86-64 Linux, which needs none."
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        die "$python_version has no C headers (Python.h), which fairseq's build needs. Debian, Ubuntu:" \
            "apt-get install python3-dev (about 10 MB to download, 30 MB of disk)."
fi

free_mb=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')
[ "$free_mb" -ge 2000 ] || die "$root has $free_mb MB of free disk; the set-up needs 2,000 (8,000 with torch's CUDA build)."
[ "$free_mb" -ge 8000 ] ||
    say "setup: note: $free_mb MB of free disk is enough for torch's CPU build, not for its CUDA build (8,000 MB)."

command -v java >/dev/null ||
    say "setup: note: no Java. METEOR, SPICE and the official caption tokeniser will be missing from the scores; all else" \
        "works. Debian, Ubuntu: apt-get install default-jre-headless (45 MB to download, 190 MB of disk)."

# --- Build ------------------------------------------------------------------------------------------------------------

if [ -e "$venv" ]; then
    [ -f "$torch_choice" ] || die "$venv was not built by this script. Move it away and start again."
    # An environment holds its own path and its Python's: after a move or a change of Python, only a new one works.
    built_with=$(version_of "$venv/bin/python" || true)
    if [ "$built_with" != "$python_version" ] || ! grep -qF "$venv/bin/python" "$venv/bin/pip" 2>/dev/null; then
        say "setup: rebuilding $venv (it was '${built_with:-broken or moved}', wanted $python_version)"
        # The Python to build with may be the one in there: take the installation behind it.
        python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
        rm -rf "$venv"
    fi
fi

begin=$SECONDS
step=0
steps=6
run() { # run DESCRIPTION COMMAND...: one step, its output in the log; on failure the log's end on the terminal
    local description=$1 since=$SECONDS
    shift
    step=$((step + 1))
    printf 'setup: [%d/%d] %s ... ' "$step" "$steps" "$description"
    printf '\n== %s\n' "$description" >>"$log"
    if ! "$@" >>"$log" 2>&1; then
        printf 'failed after %d s\n\n' $((SECONDS - since))
        tail -n 30 "$log" | sed 's/^/    /'
        die "'$description' failed; the whole output is in $log. Run the script again once it is mended."
    fi
    printf '%d s\n' $((SECONDS - since))
}

# A section of requirements.txt, one word a package.
section() { awk -v name="[$1]" '/^# \[/ { on = ($2 == name) } on && /^[a-z]/' "$root/requirements.txt"; }

pip() { # pip without the outer environment's Python settings, which could leak other packages into the builds
    env -u PYTHONPATH -u PYTHONHOME PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip "$@"
}
install() { pip install --progress-bar off --no-build-isolation "$@"; }

# fairseq-fixed without its torch extensions: build_stubs stands in for torch while it is built (see there).
install_fairseq() {
    env -u CUDA_HOME -u PYTHONHOME PYTHONPATH="$root/run_scripts/build_stubs" PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$venv/bin/python" -m pip install --progress-bar off --no-build-isolation --no-deps $(section fairseq)
}

install_rest() {
    local packages vision
    packages=$(section run; section plot; section test)
    if [ -n "$torch" ]; then # torchvision's minor version is torch's plus 15
        vision=$("$venv/bin/python" -c 'import torch; print(int(torch.__version__.split(".")[1]) + 15)') || return
        packages=$(printf '%s\n' "$packages" | sed "s/^torchvision==.*/torchvision==0.$vision.*/")
    fi
    install --no-deps $packages
}

check() { "$venv/bin/python" -c 'import narvl, fairseq_cli.train, fairseq_cli.generate, timm, pycocoevalcap, tokenizers'; }

create() { "$python" -m venv "$venv"; }

say "setup: building $venv with $python_version; details in $log"
mkdir -p "$venv"
printf '%s' "$torch" >"$torch_choice"
rm -f "$stamp"
: >"$log"
[ -x "$venv/bin/pip" ] || create || die "'$python -m venv' failed (see above)."
run "build tools" install --no-deps $(section build)
if [ -n "$torch" ]; then
    run "$torch" install $torch
else
    run "$(section torch | head -n 1)" install $(section torch)
fi
run "$(section fairseq)" install_fairseq
run "other packages" install_rest
run "narvl" install --no-deps --editable "$root"
run "import test" check
printf '%s' "$wanted" >"$stamp"
say "setup: done in $((SECONDS - begin)) s; $(du -sm "$venv" | cut -f 1) MB. Activate with: . '$venv/bin/activate'"

"""Recipes of ``configs/``, as the scripts read them."""

from __future__ import annotations

import functools
import subprocess

from narvl.tables.job import ROOT, Job

# The parts of a recipe that each script reads; what it logs changes no result.
_TRAINING = ("task", "model", "criterion", "optimizer", "averaging", "schedule", "training", "device", "checkpoint")
_DECODING = ("task", "generation", "device")
_PARTS = {
    "run_scripts/train.sh": _TRAINING,
    "run_scripts/distill.sh": _DECODING,
    "run_scripts/evaluate.sh": _DECODING,
}


def training_flags(name: str) -> tuple[str, ...]:
    """Return the flags by which a recipe trains."""
    return _expand(name, " ".join(f'"${{{part}[@]}}"' for part in _TRAINING))


def settings(job: Job) -> list[str] | None:
    """Return what the recipe of a job's command says today; None where the command reads no recipe."""
    script, name = (*job.commands[0], "")[:2]
    if script not in _PARTS:
        return None
    words = [f'"${{{part}[@]}}"' for part in _PARTS[script]]
    if _PARTS[script] == _TRAINING:  # what train.sh plans the length by, where a recipe leaves it to the data
        words += [f'${{effective_batch:+"{number}=${number}"}}' for number in ("effective_batch", "warmup_ratio")]
    return list(_expand(name, " ".join(words)))


@functools.cache
def _expand(name: str, words: str) -> tuple[str, ...]:
    """Let bash expand words in the place where a script has loaded a recipe."""
    script = f'source run_scripts/env.sh; load_recipe "$1"; printf "%s\\0" {words}'
    done = subprocess.run(["bash", "-c", script, "bash", name], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(done.stdout.split("\0")[:-1])

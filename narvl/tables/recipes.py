"""Recipes of ``configs/``, as the scripts read them."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence

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
    return _read(name, _TRAINING)


def settings(job: Job) -> list[str] | None:
    """Return what the recipe of a job's command says today; None where the command reads no recipe."""
    script, name = (*job.commands[0], "")[:2]
    return list(_read(name, _PARTS[script])) if script in _PARTS else None


@functools.cache
def _read(name: str, parts: Sequence[str]) -> tuple[str, ...]:
    flags = " ".join(f'"${{{part}[@]}}"' for part in parts)
    script = f'source run_scripts/env.sh; load_recipe "$1"; printf "%s\\0" {flags}'
    if parts == _TRAINING:  # what train.sh plans the length by, where a recipe leaves it to the data
        planned = " ".join(f'"{name}=${name}"' for name in ("effective_batch", "warmup_ratio"))
        script += f'; [[ -z $effective_batch ]] || printf "%s\\0" {planned}'
    done = subprocess.run(["bash", "-c", script, "bash", name], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(done.stdout.split("\0")[:-1])

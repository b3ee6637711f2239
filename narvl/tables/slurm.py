"""Hands jobs to Slurm: one batch job each, which starts when what it needs has ended well."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from narvl.errors import UsageError
from narvl.files import write_whole
from narvl.tables.job import KINDS, ROOT, Job
from narvl.tables.record import read_record

# In a job's folder: its number.
_NUMBER = "slurm.id"


def submit(jobs: Sequence[Job], runs: Path, command: Sequence[str], options: Sequence[str]) -> dict[str, str]:
    """Submit what has not ended well before, and does not wait or run already.

    Args:
        jobs: in an order in which they can be run.
        runs: folder of all runs, on a disk that all machines see.
        command: what runs one job, but for its name.
        options: sbatch's, for every job, or behind a kind and a colon for the jobs of that kind.

    Returns:
        Slurm's number of each job that was submitted now.

    Raises:
        UsageError: an option cannot be used; Slurm's commands are missing, or sbatch refuses.
    """
    chosen = {kind: _options_of(kind, options) for kind in KINDS}
    submitted: dict[str, str] = {}
    waiting: dict[str, str] = {}
    for job in jobs:
        if read_record(runs, job) is not None:
            continue
        folder = runs / job.name
        folder.mkdir(parents=True, exist_ok=True)
        number = _number_of_what_waits(folder)
        if number is not None:
            waiting[job.name] = number
            continue
        before = [numbers[name] for name in job.needs for numbers in (submitted, waiting) if name in numbers]
        call = ["sbatch", "--parsable", f"--job-name={job.name}", f"--output={folder / 'slurm.log'}"]
        call += [f"--dependency=afterok:{':'.join(before)}", "--kill-on-invalid-dep=yes"] if before else []
        call += ["--exclusive"] if job.alone else []
        call += [*chosen[job.kind], f"--wrap={shlex.join([*command, job.name])}"]
        done = _call(call)
        if done.returncode:
            raise UsageError(f"--slurm: sbatch refused {job.name}: {done.stderr.strip()}. --sbatch takes its options.")
        submitted[job.name] = done.stdout.strip().partition(";")[0]
        write_whole(folder / _NUMBER, f"{submitted[job.name]}\n")
    return submitted


def _options_of(kind: str, options: Sequence[str]) -> list[str]:
    """Return what is said for all kinds, and for this one."""
    found = []
    for option in options:
        named, colon, rest = ("", ":", option) if option.startswith("-") else option.partition(":")
        if (named and named not in KINDS) or not colon or not rest.startswith("-"):
            raise UsageError(
                f"--sbatch {option}: give an option of sbatch, for example --sbatch=--partition=gpu, or KIND:OPTION, "
                f"for example --sbatch=train:--gpus-per-node=8. The kinds are {', '.join(KINDS)}."
            )
        found += [rest] if named in ("", kind) else []
    return found


def _number_of_what_waits(folder: Path) -> str | None:
    """Return the number of a job that was submitted before, where it waits or runs."""
    path = folder / _NUMBER
    if not path.is_file():
        return None
    number = path.read_text(encoding="utf-8").strip()
    # Of a number that Slurm has forgotten, squeue makes an error.
    done = _call(["squeue", "--noheader", "--format=%T", f"--jobs={number}"])
    return number if number and not done.returncode and done.stdout.strip() else None


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UsageError(f"--slurm: no {command[0]} on this machine. Run it where jobs are submitted.") from error

"""Hands jobs to Slurm: one batch job each, which starts when what it needs has ended well."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from narvl.errors import UsageError
from narvl.tables.job import ROOT, Job, read_record


def submit(jobs: Sequence[Job], runs: Path, command: Sequence[str], options: Sequence[str]) -> dict[str, str]:
    """Submit what has not ended well before.

    Args:
        jobs: in an order in which they can be run.
        runs: folder of all runs, on a disk that all machines see.
        command: what runs one job, but for its name.
        options: sbatch's, for every job.

    Returns:
        Slurm's number of each job.

    Raises:
        UsageError: sbatch is missing or refuses.
    """
    numbers: dict[str, str] = {}
    for job in jobs:
        if read_record(runs, job) is not None:
            continue
        (runs / job.name).mkdir(parents=True, exist_ok=True)
        before = [numbers[name] for name in job.needs if name in numbers]
        call = ["sbatch", "--parsable", f"--job-name={job.name}", f"--output={runs / job.name / 'slurm.log'}"]
        call += [f"--dependency=afterok:{':'.join(before)}", "--kill-on-invalid-dep=yes"] if before else []
        call += [*options, f"--wrap={shlex.join([*command, job.name])}"]
        try:
            done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
        except FileNotFoundError as error:
            raise UsageError("--slurm: no sbatch on this machine. Run it where jobs are submitted.") from error
        except subprocess.CalledProcessError as error:
            raise UsageError(
                f"--slurm: sbatch refused {job.name}: {error.stderr.strip()}. --sbatch takes its options."
            ) from error
        numbers[job.name] = done.stdout.strip().partition(";")[0]
    return numbers

"""The record that a job leaves when it has ended well: what was run, by which version, and for how long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from narvl.errors import UsageError
from narvl.files import write_whole
from narvl.provenance import now
from narvl.tables.job import Job, word
from narvl.tables.recipes import settings

#: Written last, and at once: a job whose folder has it has ended well.
RECORD = "job.json"


def write_record(
    runs: Path, job: Job, recipe: list[str] | None, made: dict[str, Any], seconds: float, attempts: int
) -> None:
    """Record that a job has ended well.

    Args:
        runs: folder of all runs.
        job: that has ended.
        recipe: what its recipe said when it began.
        made: what ``narvl.provenance`` said then.
        seconds: that its last attempt took.
        attempts: how often it was begun.
    """
    record = {
        "commands": portable_commands(runs, job),
        "recipe": recipe,
        "seconds": round(seconds, 1),
        "attempts": attempts,
        "provenance": {**made, "date": now()},
    }
    write_whole(runs / job.name / RECORD, json.dumps(record, indent=1) + "\n")


def read_record(runs: Path, job: Job) -> dict[str, Any] | None:
    """Return what was recorded when a job had ended; None before.

    Raises:
        UsageError: its folder holds what other commands, or another recipe, have made.
    """
    path = runs / job.name / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a machine that lost power may have kept the name without the content
        return None
    fix = f"Move {path.parent} away to run it anew, or give another --runs."
    if record["commands"] != portable_commands(runs, job):
        raise UsageError(f"{path}: the run was made by other commands than today's: {record['commands']}. {fix}")
    # Older records do not tell what the recipe said.
    if record.get("recipe") is not None and record["recipe"] != (today := settings(job)):
        raise UsageError(
            f"{path}: the recipe {job.commands[0][1]} has changed since the run: it said "
            f"{' '.join(record['recipe'])}; it says {' '.join(today or [])}. {fix}"
        )
    return record


def portable_commands(runs: Path, job: Job) -> list[list[str]]:
    """Return a job's commands as they are recorded: they stay the same where the folder of all runs is moved."""
    return [[text.replace(str(runs), "RUNS").replace(word(runs), "RUNS") for text in words] for words in job.commands]

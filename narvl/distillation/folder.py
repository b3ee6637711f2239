"""The student's data folder, as the steps of distillation hand it on: names of its files, and the task it is for."""

from __future__ import annotations

import json
import re
from pathlib import Path

from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError, UsageError
from narvl.files import write_whole

#: The split that the teacher decodes.
TEACHER_SPLIT = "teacher"
#: The tasks whose targets a teacher can rewrite: those where many answers are right.
TASKS = ("captioning", "vqa")
_NOTE = "distill.json"
_SHARD = re.compile(r"(\d+)-of-(\d+)\.txt")


def teacher_path(out: Path) -> Path:
    """Return the file of rows that the teacher decodes."""
    return out / f"{TEACHER_SPLIT}.tsv"


def write_task(out: Path, task: str) -> None:
    """Note the task for the later steps."""
    write_whole(out / _NOTE, json.dumps({"task": task}) + "\n")


def read_task(out: Path) -> str:
    """Return the task that the folder was begun for.

    Raises:
        DataError: the folder was not begun by the first step.
    """
    note = out / _NOTE
    try:
        task = json.loads(note.read_text(encoding="utf-8"))["task"]
    except FileNotFoundError as error:
        raise DataError(f"{note}: no such file. Begin with: narvl distill rows --data DATA --out {out}") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:  # brackets in brackets
        raise DataError(f"{note}: damaged ({error}). Run narvl distill rows again.") from error
    if task not in TASKS:
        raise DataError(f"{note}: the task is {task!r}, not {' or '.join(TASKS)}. Run narvl distill rows again.")
    return str(task)


def open_rows(out: Path, task: str) -> TsvFile:
    """Open the rows that the teacher decodes."""
    return TsvFile(teacher_path(out), COLUMNS[task])


def shard_rows(num_rows: int, shard_id: int, num_shards: int) -> range:
    """Return a shard's rows (0-based): contiguous blocks, whose sizes differ by one at most."""
    return range(shard_id * num_rows // num_shards, (shard_id + 1) * num_rows // num_shards)


def shard_path(out: Path, shard_id: int, num_shards: int) -> Path:
    """Return a shard's results file.

    Raises:
        UsageError: there is no such shard.
    """
    if num_shards < 1:
        raise UsageError(f"--num-shards {num_shards}: give at least 1.")
    if not 0 <= shard_id < num_shards:
        raise UsageError(f"--shard-id {shard_id}: give 0 to {num_shards - 1}, for --num-shards {num_shards}.")
    return out / "shards" / f"{shard_id}-of-{num_shards}.txt"


def parse_shard(path: Path) -> tuple[int, int] | None:
    """Return shard id and number of shards of a shard's results file; None for another file."""
    match = _SHARD.fullmatch(path.name)
    return (int(match[1]), int(match[2])) if match and path.parent.name == "shards" else None


def find_shards(out: Path) -> list[Path]:
    """Return the results files of all shards that were begun, in the shards' order."""
    found = [(shard, path) for path in (out / "shards").glob("*.txt") if (shard := parse_shard(path))]
    return [path for _, path in sorted(found)]

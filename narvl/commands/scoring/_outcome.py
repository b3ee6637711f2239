"""What scoring a task gives, and how it is written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from narvl.errors import DataError, UsageError

if TYPE_CHECKING:
    from narvl.data.tsv import TsvFile

#: Shown where a metric has no value; the reason stands beside it or under the table.
NOT_RUN = "not run"
# Of 64 bits; those of data sets have 12.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Outcome:
    """What scoring gives.

    Attributes:
        text: tables for people, ending in a line end.
        figures: fit for JSON; None where the split has nothing to score by.
    """

    text: str
    figures: dict[str, Any] | None


class TaskScorer(Protocol):
    """How one task is scored: what a module of this package offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags that only this task has."""

    def score(self, args: argparse.Namespace) -> Outcome:
        """Score what the command's flags name."""


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Write names and values as a table."""
    from tabulate import tabulate

    return tabulate(rows, disable_numparse=True, colalign=("left", "right")) + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write rows of a name and figures as a table with a heading."""
    from tabulate import tabulate

    align = ("left",) + ("right",) * (len(headers) - 1)
    return tabulate(rows, headers, disable_numparse=True, colalign=align) + "\n"


def left_out(scored: int, rows: TsvFile, truth: str) -> str:
    """Tell how many rows have no truth (a caption, an answer) to score by; an empty text where all have."""
    missing = len(rows) - scored
    return f"{missing} of {len(rows)} rows have no {truth} and were left out of the scores.\n" if missing else ""


def nothing_to_score(rows: TsvFile, truth: str, remedy: str) -> DataError:
    """Return the error of a split without truth."""
    return DataError(f"{rows.path}: no row has {truth}, so there is nothing to score by. {remedy}")


def server_id(text: str, column: str, where: str) -> int:
    """Return a row's id as evaluation servers want it: an integer.

    Args:
        text: the column's text: digits, or a COCO file name, which ends in its image's number.
        column: its name, for the message.
        where: file and row, for the message.

    Raises:
        DataError: the id is no number.
    """
    digits = text.strip().removesuffix(".jpg").rpartition("_")[2] if text.startswith("COCO_") else text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise DataError(f"{where}: the {column} is {text[:80]!r}. A server's submission file needs its number there.")
    return int(digits)


def write_submission(path: str, entries: Sequence[dict[str, Any]], key: str) -> str:
    """Write an evaluation server's submission file.

    Args:
        path: the file (``--submission``).
        entries: one a row.
        key: the name of the id, which a server takes once.

    Returns:
        A line that tells of it.

    Raises:
        DataError: two entries have the same id.
        UsageError: the file cannot be written.
    """
    rows: dict[int, int] = {}
    for row, entry in enumerate(entries, start=1):
        if (first := rows.setdefault(entry[key], row)) != row:
            raise DataError(
                f"rows {first} and {row} both have the {key} {entry[key]}, and a server takes one entry each. "
                "Submit a split that holds each once."
            )
    write_json(path, list(entries), "--submission", indent=None)
    return f"{path}: {len(entries)} entries for the evaluation server.\n"


def write_json(path: str | Path, content: object, flag: str, indent: int | None = 2) -> None:
    """Write a JSON file, and the folders that it is in.

    Raises:
        UsageError: it cannot be written; the message names the flag.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{flag} {path}: cannot be written ({error.strerror}). Give another path.") from error

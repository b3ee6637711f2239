"""What a task adds to ``narvl report``: its columns, its notes and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from narvl.data.tsv import TsvFile
    from narvl.evaluation.grid import Picture

#: The record that ``narvl score --json`` wrote.
Record = dict[str, Any]

#: A column's heading and how its cell is made of a run's record.
Column = tuple[str, Callable[[Record], str]]


@dataclass(frozen=True)
class Chosen:
    """The rows that the grid shows.

    Attributes:
        data: the data directory.
        split: the split's name.
        rows: the split.
        indices: the rows to show, 0-based.
        said: what each run said about every row.
    """

    data: str
    split: str
    rows: TsvFile
    indices: Sequence[int]
    said: Mapping[str, Mapping[int, str]]


class TaskReport(Protocol):
    """How runs of one task are put side by side: what a module of this package offers."""

    #: What the record of a score must hold beside ``task``, ``split`` and ``samples``.
    KEYS: frozenset[str]
    #: What the ticks and the crosses of the grid mean.
    MARKS: tuple[str, str]

    def columns(self, records: Mapping[str, Record]) -> list[Column]:
        """Return the columns of scores; raises DataError where the runs do not compare."""

    def notes(self, records: Mapping[str, Record]) -> list[str]:
        """Return what to read the scores by."""

    def pictures(self, chosen: Chosen) -> list[Picture]:
        """Return the pictures of the grid."""


def percent(value: float) -> str:
    """Write a fraction as papers print it."""
    return f"{value:.1%}"

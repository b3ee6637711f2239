"""Watches processes from outside: resident memory and open files by /proc, and what slope a series of values has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What a process and those that it has started use.

    Attributes:
        main_mb: resident memory of the process itself, in MB (10^6 bytes).
        workers_mb: memory of the processes below it, each page divided by how many processes share it, but for
            pages of files: others that have nothing to do with these may have them too (torch's libraries).
        workers: how many there are.
        handles: open file handles of all.
    """

    main_mb: float
    workers_mb: float
    workers: int
    handles: int


def measure(pid: int) -> Usage | None:
    """Measure a process and those below it; None where it has ended."""
    try:
        main = _field(pid, "status", "VmRSS")
        handles = _handles(pid)
    except (OSError, LookupError):
        return None
    memory, workers = 0.0, 0
    for child in descendants(pid):
        with suppress(OSError, LookupError):  # a worker may end at any time
            child_memory = sum(_field(child, "smaps_rollup", kind) for kind in ("Pss_Anon", "Pss_Shmem"))
            child_handles = _handles(child)
            memory, handles, workers = memory + child_memory, handles + child_handles, workers + 1
    return Usage(main, memory, workers, handles)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    parents: dict[int, int] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold blanks and parentheses itself; state and parent follow.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    for candidate in parents:
        ancestor = candidate
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor]
        if ancestor == pid != candidate:
            found.append(candidate)
    return found


def _field(pid: int, file: str, name: str) -> float:
    """Read a field in kB as MB."""
    for line in (_PROC / str(pid) / file).read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(name)  # a process that has ended, and whose parent has not heard of it, has no memory


def _handles(pid: int) -> int:
    return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())


@dataclass(frozen=True)
class Trend:
    """A straight line through a series, by least squares.

    Attributes:
        slope: per unit of x.
        error: the slope's standard error; values that follow each other are alike, so that it is a lower bound.
        start: the line's value at the first x.
        end: its value at the last x.
    """

    slope: float
    error: float
    start: float
    end: float


def fit(x: npt.ArrayLike, y: npt.ArrayLike) -> Trend:
    """Fit a line to at least three points, not all at one x."""
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    deviation = xs - xs.mean()
    spread = float(deviation @ deviation)
    slope = float(deviation @ ys) / spread
    line = ys.mean() + slope * deviation
    error = math.sqrt(float(((ys - line) ** 2).sum()) / (len(xs) - 2) / spread)
    return Trend(slope, error, float(line[0]), float(line[-1]))


def step_times(seconds: Sequence[float], updates: Sequence[int], windows: int) -> tuple[list[float], list[float]]:
    """Turn the times at which updates were told into seconds an update, apart from validation and checkpoints.

    Args:
        seconds: when the line of an update was read.
        updates: its number, rising.
        windows: into how many stretches of lines the run is divided.

    Returns:
        For each stretch the mean update and the median of seconds an update: what happens now and then between two
        lines does not move it.
    """
    time, number = np.asarray(seconds, dtype=float), np.asarray(updates, dtype=float)
    rates = np.diff(time) / np.diff(number)
    middles = (number[1:] + number[:-1]) / 2
    stretches = [part for part in np.array_split(np.arange(len(rates)), windows) if len(part)]
    return (
        [float(middles[part].mean()) for part in stretches],
        [float(np.median(rates[part])) for part in stretches],
    )

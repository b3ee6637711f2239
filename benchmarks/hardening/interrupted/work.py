"""What every kind of work offers: a command that writes files, and what must be true of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from interrupted.stops import STOPS


class Work(ABC):
    """A command that can be stopped and given again.

    Args:
        folder: takes its input.
        seed: of the input.

    Attributes:
        stops: the ways to stop it.
    """

    stops: ClassVar[tuple[str, ...]] = tuple(STOPS)

    @abstractmethod
    def __init__(self, folder: Path, seed: int) -> None: ...

    def begin(self, out: Path) -> None:
        """Make what a folder must hold before the command is first given."""
        out.mkdir()

    @abstractmethod
    def command(self, out: Path) -> list[str]:
        """Return the command that fills a folder."""

    @abstractmethod
    def begun(self, out: Path) -> bool:
        """Tell whether the command has got to its work, behind its imports."""

    def size(self, out: Path) -> int:
        """Return the size of the largest file that the command has written, in bytes."""
        return max(path.stat().st_size for path in out.rglob("*") if path.is_file())

    @abstractmethod
    def damages(self, out: Path, whole: Path) -> list[str]:
        """Name what is not whole though its name says so.

        Args:
            out: the folder of a command that was stopped.
            whole: that of an undisturbed one.
        """

    @abstractmethod
    def state(self, out: Path) -> Any:
        """Return what a restart must not do again."""

    @abstractmethod
    def repeats(self, state: Any, out: Path, lines: list[str]) -> list[str]:
        """Name what a restart did again, or left out.

        Args:
            state: before it.
            out: the folder, after it.
            lines: its output.
        """

    @abstractmethod
    def differences(self, out: Path, whole: Path) -> list[str]:
        """Name what differs between a folder that was stopped and finished, and an undisturbed one."""


def names(folder: Path) -> list[str]:
    """Return the names of all files of a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def different_names(out: Path, whole: Path) -> list[str]:
    """Name the files that only one of two folders has."""
    ours, theirs = set(names(out)), set(names(whole))
    return [f"left behind: {name}" for name in sorted(ours - theirs)] + [
        f"missing: {name}" for name in sorted(theirs - ours)
    ]

"""A shard's results file: written by one process at a time, and taken up again where a killed one has left it."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TextIO

import numpy as np
import numpy.typing as npt

from narvl.errors import DataError, UsageError
from narvl.evaluation.generations import iterate_generations

logger = logging.getLogger(__name__)

_HEADER = b"narvl distill decode: "
_TRAILER = b"narvl distill decode: complete\n"


class Shard:
    """The results of a block of rows, open for appending and locked against other processes.

    The first line tells the settings that the texts depend on; fairseq-generate's lines follow, in any order of rows;
    the last line tells that decoding has come to its end. What a killed process has left of its last row is cut off.

    Args:
        path: the file; created.
        rows: the block's rows (0-based).
        settings: what the texts depend on, fit for JSON. A file that was begun with others is refused.

    Attributes:
        text: takes what fairseq-generate writes; each line reaches the file at once.
        complete: whether decoding has come to its end: rows that are missing then cannot be decoded.

    Raises:
        DataError: the file is damaged, or holds other rows.
        UsageError: another process has it open, or it was begun with other settings.
    """

    text: TextIO

    def __init__(self, path: Path, rows: range, settings: dict[str, Any]) -> None:
        self.path = path
        self.rows = rows
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b")
        try:
            self._lock()
            first = self._check_settings(settings)
            self.complete = _ends_complete(self._file)
            self._done, end = self._scan(first)
            if not self.complete:
                self._file.truncate(end)
            self._file.seek(0, os.SEEK_END)
            self.text = io.TextIOWrapper(self._file, encoding="utf-8", newline="\n", line_buffering=True)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Shard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.text.close()

    @property
    def missing(self) -> npt.NDArray[np.int64]:
        """The rows (0-based) that the file did not hold when it was opened, or last checked."""
        return np.flatnonzero(~self._done) + self.rows.start

    def check(self) -> None:
        """Read the file again, after something was appended."""
        self.text.flush()
        self._done, _ = self._scan(0)
        self._file.seek(0, os.SEEK_END)

    def finish(self) -> None:
        """Note that decoding has come to its end."""
        self.text.write(_TRAILER.decode())
        self.complete = True

    def _lock(self) -> None:
        # A record lock ends with its process, however that ends, and no data-loading worker inherits it: none is stale.
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            shard_id = self.path.name.partition("-")[0]
            raise UsageError(
                f"--shard-id {shard_id}: another process is decoding it ({self.path} is locked). Wait for its end, "
                "or decode another shard."
            ) from error
        except OSError as error:
            logger.warning("%s: not locked (%s). Never decode a shard by two processes at a time.", self.path, error)

    def _check_settings(self, settings: dict[str, Any]) -> int:
        """Write or compare the first line; return its length."""
        line = _HEADER + json.dumps(settings, sort_keys=True).encode() + b"\n"
        self._file.seek(0)
        found = self._file.readline()
        if not found.endswith(b"\n"):
            self._file.truncate(0)
            self._file.write(line)
            self._file.flush()
            return len(line)
        different = compare_settings(_parse_header(found, self.path), json.loads(line[len(_HEADER) :]))
        if different:
            raise UsageError(
                f"{self.path}: begun with other settings: {different}. Decode with the same ones, or delete the file "
                "to decode the shard anew."
            )
        return len(found)

    def _scan(self, start: int) -> tuple[npt.NDArray[np.bool_], int]:
        """Return which rows the file holds whole, and the byte offset behind the last of them."""
        done = np.zeros(len(self.rows), dtype=np.bool_)
        end = start
        self._file.seek(start)
        for entry in iterate_generations(self._file, self.path, unfinished=True):
            if entry.row not in self.rows or done[entry.row - self.rows.start]:
                what = "twice" if entry.row in self.rows else "of another shard"
                raise DataError(f"{self.path}: row id {entry.row} is {what}. Delete the file to decode the shard anew.")
            done[entry.row - self.rows.start] = True
            end = entry.end
        return done, end


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a shard's results file was begun with.

    Raises:
        DataError: the first line does not tell them.
    """
    with path.open("rb") as file:
        return _parse_header(file.readline(), path)


def is_complete(path: Path) -> bool:
    """Tell whether the decoding of a shard has come to its end."""
    with path.open("rb") as file:
        return _ends_complete(file)


def compare_settings(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Tell which settings differ, for people; empty where none does."""
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(f"{name} {_brief(old.get(name))}, now {_brief(new.get(name))}" for name in names)


def _brief(value: Any) -> str:
    return str(value) if len(str(value)) <= 60 else f"{str(value)[:12]}..."


def _parse_header(line: bytes, path: Path) -> dict[str, Any]:
    if line.startswith(_HEADER) and line.endswith(b"\n"):
        try:
            settings = json.loads(line[len(_HEADER) :])
        except (ValueError, RecursionError):  # brackets in brackets
            settings = None
        if isinstance(settings, dict):
            return settings
    raise DataError(
        f"{path}: its first line does not tell the settings, so narvl distill decode has not begun it, or it is "
        "damaged. Delete the file to decode the shard anew."
    )


def _ends_complete(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(_TRAILER)))
    return file.read() == _TRAILER

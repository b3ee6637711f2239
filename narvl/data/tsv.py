"""Reads OFA's TSV files row by row: an index of byte offsets, then one seek a row, whatever the file's size."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from narvl.errors import DataError

logger = logging.getLogger(__name__)

#: The columns of each task's files, in order (the layout of OFA's public archives).
COLUMNS: dict[str, tuple[str, ...]] = {
    "captioning": ("uniq-id", "image-id", "caption", "predicted objects", "image"),
    "vqa": ("question-id", "image-id", "question", "answers", "predicted objects", "image"),
    "grounding": ("uniq-id", "image-id", "text", "box", "image"),
    "entailment": ("uniq-id", "image-id", "image", "hypothesis", "caption", "label"),
}

#: Joins several references, answers or object names inside one column.
SEPARATOR = "&&"

_SCAN_BYTES = 1 << 24
# Scanning costs about a second a gigabyte; below this size a stored index would only litter the data directory.
_STORE_INDEX_FROM_BYTES = 1 << 30


class TsvFile:
    """A TSV file as a read-only sequence of rows.

    The file is opened anew in each process that reads it (a shared file position would mix the rows of data-loading
    workers), and is never held in memory.

    Args:
        path: the file; tab-separated, no header, UTF-8.
        columns: names of the columns, for the check of each row and for messages.

    Raises:
        DataError: the file is missing or empty.
    """

    def __init__(self, path: str | Path, columns: tuple[str, ...]) -> None:
        self.path = Path(path)
        self.columns = columns
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file. Give the folder that holds {self.path.name}.")
        self._offsets = _row_offsets(self.path)
        if len(self._offsets) < 2:
            raise DataError(f"{self.path}: the file is empty. Expected rows with the columns {', '.join(columns)}.")
        self._handle: BinaryIO | None = None
        self._handle_pid = -1

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def where(self, index: int) -> str:
        """Name row ``index`` (0-based) as messages do: ``path, row N`` with N counted from 1."""
        return f"{self.path}, row {index + 1}"

    def locate(self, index: int, error: DataError) -> str:
        """Return an error's message with the row it is about, unless it names it already."""
        return str(error) if str(self.path) in str(error) else f"{self.where(index)}: {error}"

    def __getitem__(self, index: int) -> list[str]:
        """Return the fields of row ``index`` (0-based).

        Raises:
            DataError: the row has another number of columns, or is not UTF-8.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        begin, end = int(self._offsets[index]), int(self._offsets[index + 1])
        handle = self._open()
        handle.seek(begin)
        raw = handle.read(end - begin).rstrip(b"\r\n")
        try:
            fields = raw.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where(index)}: not UTF-8 ({error}). Save the file as UTF-8.") from error
        if len(fields) != len(self.columns):
            raise DataError(
                f"{self.where(index)}: {len(fields)} columns, expected {len(self.columns)} "
                f"({', '.join(self.columns)}), separated by tabs. Add the missing column or drop the extra one."
            )
        return fields

    def _open(self) -> BinaryIO:
        if self._handle is None or self._handle_pid != os.getpid():
            self._handle = self.path.open("rb")
            self._handle_pid = os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handle": None, "_handle_pid": -1}


def _row_offsets(path: Path) -> npt.NDArray[np.int64]:
    """Return the byte offset of each row's begin, and of the last row's end."""
    stat = path.stat()
    stamp = np.array([stat.st_size, stat.st_mtime_ns], dtype=np.int64)
    store = path.with_name(path.name + ".offsets.npy")
    if store.is_file():
        stored = np.load(store, mmap_mode="r")
        if stored.ndim == 1 and len(stored) > 2 and (stored[:2] == stamp).all():
            return stored[2:]
    offsets = _scan(path)
    if stat.st_size >= _STORE_INDEX_FROM_BYTES:
        partial = store.with_name(f"{store.name}.{os.getpid()}.npy")
        try:
            np.save(partial, np.concatenate([stamp, offsets]))
            os.replace(partial, store)
        except OSError as error:
            logger.warning("%s: the row index was not stored (%s) and will be made at each start", store, error)
    return offsets


def _scan(path: Path) -> npt.NDArray[np.int64]:
    from tqdm import tqdm

    ends: list[npt.NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
    position = 0
    size = path.stat().st_size
    with (
        path.open("rb") as handle,
        tqdm(
            total=size, unit="B", unit_scale=True, desc=f"index {path.name}", disable=size < _STORE_INDEX_FROM_BYTES
        ) as bar,
    ):
        last = b"\n"
        while block := handle.read(_SCAN_BYTES):
            ends.append(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10) + position + 1)
            position += len(block)
            last = block[-1:]
            bar.update(len(block))
    if last != b"\n":
        ends.append(np.array([position], dtype=np.int64))
    return np.concatenate(ends)

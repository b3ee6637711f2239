"""Reads OFA's TSV files row by row: an index of byte offsets, then one seek a row, whatever the file's size."""

from __future__ import annotations

import logging
import os
import re
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from narvl.errors import DataError, visible

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

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_SCAN_BYTES = 1 << 24
# Scanning costs about a second a gigabyte; below this size a stored index would only litter the data directory.
_STORE_INDEX_FROM_BYTES = 1 << 30
# No image that may be decoded takes as much in base64; a row that does has lost its line ends.
_MAX_ROW_BYTES = 1 << 29


def read_number(text: str) -> float:
    """Read a number as people and programs write it: in ASCII digits, nothing between them, blanks around it.

    Raises:
        ValueError: it is none. Python's own ``float`` takes ``1_0`` for 10, other scripts' digits, and ``nan``.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


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
        # Only the beginning tells: what the message quotes from the row may name any file.
        return str(error) if str(error).startswith(visible(str(self.path))) else f"{self.where(index)}: {error}"

    def __getitem__(self, index: int) -> list[str]:
        """Return the fields of row ``index`` (0-based).

        Raises:
            DataError: the row has another number of columns, is not UTF-8, or is far too long.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        begin, end = int(self._offsets[index]), int(self._offsets[index + 1])
        if end - begin > _MAX_ROW_BYTES:
            raise DataError(
                f"{self.where(index)}: {end - begin:,} bytes; at most {_MAX_ROW_BYTES:,} are read. Does the file lack "
                "line ends? Rows end in a line feed."
            )
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
    stamp = (stat.st_size, stat.st_mtime_ns)
    store = path.with_name(path.name + ".offsets.npy")
    if store.is_file() and (stored := _read_index(store, stamp)) is not None:
        return stored
    offsets = _scan(path)
    if stat.st_size >= _STORE_INDEX_FROM_BYTES:
        partial = store.with_name(f"{store.name}.{os.getpid()}.npy")
        try:
            np.save(partial, np.concatenate([np.array([*stamp, zlib.crc32(offsets.data)], dtype=np.int64), offsets]))
            os.replace(partial, store)
        except OSError as error:
            logger.warning("%s: the row index was not stored (%s) and will be made at each start", store, error)
    return offsets


def _read_index(store: Path, stamp: tuple[int, int]) -> npt.NDArray[np.int64] | None:
    """Return the offsets of a stored index; None where it is of another state of the file, or damaged.

    Args:
        store: the index: the file's size and time of change, a checksum of the offsets, the offsets.
        stamp: the file's size and time of change.
    """
    try:
        stored = np.lib.format.open_memmap(store, mode="r")  # np.load reads archives and pickles too
    except Exception as error:  # numpy parses the header as Python: what a damaged one raises depends on the damage
        logger.warning("%s: damaged (%s); the row index is made anew", store, error)
        return None
    if stored.ndim != 1 or stored.dtype != np.int64 or tuple(stored[:2]) != stamp:
        return None
    offsets = stored[3:]
    in_order = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == stamp[0] and bool((np.diff(offsets) > 0).all())
    if not in_order or zlib.crc32(offsets.data) != stored[2]:
        logger.warning("%s: damaged (wrong offsets); the row index is made anew", store)
        return None
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

"""A data folder made from another one: its own train.tsv, and the rest shared."""

from __future__ import annotations

import os
import re
import shutil
import zlib
from pathlib import Path

from narvl.data.tsv import COLUMNS, TsvFile
from narvl.data.vocabulary import BPE_FILES
from narvl.errors import DataError, UsageError
from narvl.files import named_when_full

_BOX = re.compile(r"\s*-?\d[\d.]*(,-?\d[\d.]*){3}\s*")
_SPLITS = ("valid*", "test*")
_SHARED = (*BPE_FILES, "candidates.txt", *(f"{split}.{end}" for split in _SPLITS for end in ("tsv", "scenes.jsonl")))


def begin_folder(data: Path, out: Path, task: str) -> TsvFile:
    """Make the folder OUT, and open the training file of DATA.

    Args:
        data: the folder with train.tsv.
        out: the new folder; created.
        task: a key of ``COLUMNS``.

    Raises:
        DataError: train.tsv is missing.
        UsageError: both are the same folder, or OUT cannot be made.
    """
    if data.resolve() == out.resolve():
        raise UsageError(f"--out {out}: the same folder as --data, whose train.tsv would be lost. Give another one.")
    rows = TsvFile(data / "train.tsv", COLUMNS[task])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made ({error.strerror}). Give a folder.") from error
    return rows


class CaptionedImages:
    """Tells the images of a captioning file apart, whose rows repeat an image for each of its captions.

    Args:
        rows: the file.
    """

    def __init__(self, rows: TsvFile) -> None:
        self._rows = rows
        self._seen: dict[str, tuple[int, int]] = {}  # to each image-id the checksum of its image, and its first row

    def __len__(self) -> int:
        return len(self._seen)

    def first_row(self, index: int) -> tuple[int, list[str]]:
        """Return the first row (0-based) that has the image of a row, and this row's fields; rows come in order.

        Raises:
            DataError: the row is malformed, its image-id is empty or of another image before, or it is one of visual
                grounding, which has as many columns.
        """
        fields = self._rows[index]
        _, image_id, _, objects, image = fields
        where = self._rows.where(index)
        if _BOX.fullmatch(objects):
            raise DataError(f"{where}: column 4 is a box. Give a folder of captions, not of visual grounding.")
        if not image_id.strip():
            raise DataError(f"{where}: the image-id (column 2) is empty, which tells images apart. Give each its own.")
        checksum = zlib.crc32(image.encode())
        known, first = self._seen.setdefault(image_id, (checksum, index))
        if known != checksum:
            raise DataError(
                f"{where}: the image-id (column 2) {image_id[:80]!r} is that of row {first + 1}, but the image is "
                "another. Give each image its own."
            )
        return first, fields


def link_rest(data: Path, out: Path) -> None:
    """Link or copy what a data folder holds beside the training rows: other splits, BPE, truth, candidate answers."""
    for path in sorted({path for pattern in _SHARED for path in data.glob(pattern)}):
        if path.is_file():
            link(path, out / path.name)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system cannot; the old target stays until then.

    Raises:
        UsageError: the disk is full.
    """
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), partial)  # of the file: a link's second name would lead elsewhere
    except OSError:
        with named_when_full(partial):
            shutil.copyfile(source, partial)
    os.replace(partial, target)
    # Of two names of one file, rename() keeps both.
    partial.unlink(missing_ok=True)

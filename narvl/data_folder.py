"""A data folder made from another one: its own train.tsv, and the rest shared."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from narvl.data.tsv import COLUMNS, TsvFile
from narvl.data.vocabulary import BPE_FILES
from narvl.errors import DataError, UsageError

_BOX = re.compile(r"\s*-?\d[\d.]*(,-?\d[\d.]*){3}\s*")
_REST = (*BPE_FILES, "valid.tsv", "test.tsv", "valid.scenes.jsonl", "test.scenes.jsonl")


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


def captioned_image(rows: TsvFile, index: int) -> tuple[str, list[str]]:
    """Return what tells a captioning row's image from others, and the row.

    Raises:
        DataError: the row is malformed, its image-id is empty, or it is one of visual grounding, which has as many
            columns.
    """
    fields = rows[index]
    if _BOX.fullmatch(fields[3]):
        raise DataError(f"{rows.where(index)}: column 4 is a box. Give a folder of captions, not of visual grounding.")
    if not fields[1].strip():
        raise DataError(
            f"{rows.where(index)}: the image-id (column 2) is empty, which tells images apart. Give each its own."
        )
    return fields[1], fields


def link_rest(data: Path, out: Path) -> None:
    """Link or copy all that a data folder holds beside the training rows: validation, test, BPE, truth."""
    for name in _REST:
        if (data / name).is_file():
            link(data / name, out / name)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system cannot; the old target stays until then."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    os.replace(partial, target)
    # Of two names of one file, rename() keeps both.
    partial.unlink(missing_ok=True)

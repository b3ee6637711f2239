"""Reads the CSV file of captions: one row a caption, columns split, image, caption; grouped by split and image."""

from __future__ import annotations

import csv
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from narvl.data.text import clean_caption
from narvl.errors import DataError, UsageError
from narvl.prepare.fields import clean, show
from narvl.prepare.output import SPLITS, BadRows

logger = logging.getLogger(__name__)

COLUMNS = ("split", "image", "caption")

_SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}


@dataclass
class Photo:
    """One image of one split, with its captions.

    Args:
        name: the image column: the file's name in the image folder.
        captions: cleaned, in the file's order.
        rows: the row of each caption (1-based; row 1 is the header).
    """

    name: str
    captions: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    @property
    def image_id(self) -> str:
        """The name without its extension."""
        return clean(str(Path(self.name).with_suffix("")))


def read_captions(path: Path, images: Path, bad_rows: BadRows) -> dict[str, list[Photo]]:
    """Group the rows by split and image, both in the order of appearance.

    Args:
        path: the CSV file.
        images: folder of the image files; each must exist.
        bad_rows: told of each row that cannot be used.

    Returns:
        The photos of each split that has any.

    Raises:
        UsageError: there is no such CSV file.
        DataError: it is no CSV file, lacks a column, has no usable row, or two images have the same id.
    """
    grouped: dict[str, dict[str, Photo]] = {split: {} for split in SPLITS}
    exists: dict[str, bool] = {}
    for row, (split_name, image, caption) in _read_rows(path, bad_rows):
        where = f"{path}, row {row}"
        split = _SPLIT_NAMES.get(split_name.strip().lower())
        if split is None:
            bad_rows.report(
                "of an unknown split", f"{where}: unknown split {split_name!r}. Write train, valid or test."
            )
            continue
        text = clean(caption)
        if not clean_caption(text, 1):
            bad_rows.report(
                "with an empty caption", f"{where}: the caption is {show(caption)}: no word in it. Write words."
            )
            continue
        if not _stays_inside(image):
            bad_rows.report(
                "of an image outside the folder",
                f"{where}: {image!r} leads out of --images {images}. Give the file's name in that folder.",
            )
            continue
        if image not in exists:
            exists[image] = os.path.isfile(images / image)  # unlike Path.is_file, false for impossible names too
        if not exists[image]:
            bad_rows.report("of a missing image", f"{where}: {images / image}: no such image file. Correct the name.")
            continue
        photo = grouped[split].setdefault(image, Photo(image))
        photo.captions.append(text)
        photo.rows.append(row)
    splits = {split: list(photos.values()) for split, photos in grouped.items() if photos}
    if not splits:
        raise DataError(f"{path}: no usable row. Give at least one row with split, image and caption.")
    _check_images(path, splits)
    return splits


def _read_rows(path: Path, bad_rows: BadRows) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield the 1-based number (row 1 is the header) and the three columns of each row that is not blank."""
    if not path.is_file():
        raise UsageError(f"--captions {path}: no such file. Give a CSV file with the columns {', '.join(COLUMNS)}.")
    csv.field_size_limit(sys.maxsize)
    row = 1
    try:
        # utf-8-sig: spreadsheets put a byte-order mark in front.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            split, image, caption = _find_columns(path, header)
            for row, fields in enumerate(reader, start=2):
                if not fields:
                    continue
                if len(fields) != len(header):
                    fix = (
                        "Put a caption that holds commas in double quotes"
                        if len(fields) > len(header)
                        else "Add the rest"
                    )
                    where = f"{path}, row {row}"
                    bad_rows.report(
                        "with a wrong number of columns",
                        f"{where}: {len(fields)} columns, the header has {len(header)}. {fix}.",
                    )
                    continue
                yield row, (fields[split], fields[image].strip(), fields[caption])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8, after row {row} ({error}). Save the file as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}: not CSV, after row {row} ({error}). Check that quotes are closed.") from error


def _stays_inside(name: str) -> bool:
    """Tell whether a name, which anyone may have written, leads to a place in the folder that it is put behind."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _find_columns(path: Path, header: list[str]) -> list[int]:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}, row 1: no column {', '.join(missing)}; the header reads {', '.join(header) or 'nothing'}. Begin "
            f"the file with the line {','.join(COLUMNS)}, and separate the columns with commas."
        )
    repeated = [name for name in COLUMNS if header.count(name) > 1]
    if repeated:
        raise DataError(
            f"{path}, row 1: the header names {', '.join(repeated)} more than once: {', '.join(header)}. Rename the "
            "columns that are not to be read; give each further caption a row of its own."
        )
    return [header.index(name) for name in COLUMNS]


def _check_images(path: Path, splits: dict[str, list[Photo]]) -> None:
    """Refuse two images with one id; warn of images in two splits, which flatter the scores."""
    name_of: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for split, photos in splits.items():
        shared = Counter(split_of[photo.name] for photo in photos if photo.name in split_of)
        for other_split, count in shared.items():
            logger.warning("%s: %d images of the split %s are in %s too", path, count, split, other_split)
        for photo in photos:
            split_of.setdefault(photo.name, split)
            other = name_of.setdefault(photo.image_id, photo.name)
            if other != photo.name:
                raise DataError(
                    f"{path}, row {photo.rows[0]}: the images {other!r} and {photo.name!r} get the same id "
                    f"{photo.image_id!r}. Rename one of them."
                )

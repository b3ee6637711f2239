"""One training row an image, with all its captions, from files that repeat the image for each of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from narvl.data.captioning import references
from narvl.data.tsv import COLUMNS, SEPARATOR
from narvl.data_folder import CaptionedImages, begin_folder, link_rest
from narvl.files import named_when_full

_CAPTION = COLUMNS["captioning"].index("caption")


@dataclass(frozen=True)
class Grouped:
    """What was joined: rows read, rows written, and captions in them."""

    rows: int
    images: int
    captions: int


def group_captions(data: str | Path, out: str | Path) -> Grouped:
    """Write a data folder whose train.tsv has one row an image: the image's first row, with all its captions.

    Captions keep their order; one that an image has twice stays twice, and counts so. Everything else that a data
    folder holds (validation, test, BPE, truth) is linked or copied. Images stay the text they are.

    Args:
        data: a captioning folder with train.tsv.
        out: the folder to write; created.

    Raises:
        DataError: train.tsv is missing, or a row is malformed, or its image-id is empty or of another image.
        UsageError: the folders are the same, ``out`` cannot be made, or the disk is full.
    """
    data, out = Path(data), Path(out)
    rows = begin_folder(data, out, "captioning")
    images = CaptionedImages(rows)
    captions: dict[int, list[str]] = {}  # by the image's first row
    for index in tqdm(range(len(rows)), desc="captions", unit="row", disable=None):
        first, fields = images.first_row(index)
        captions.setdefault(first, []).extend(references(fields))
    partial = out / "train.tsv.partial"
    with named_when_full(partial), partial.open("w", encoding="utf-8", newline="\n") as file:
        for first, texts in tqdm(captions.items(), desc="images", unit="row", disable=None):
            fields = rows[first]
            fields[_CAPTION] = SEPARATOR.join(texts)
            file.write("\t".join(fields) + "\n")
    os.replace(partial, out / "train.tsv")
    link_rest(data, out)
    return Grouped(len(rows), len(captions), sum(map(len, captions.values())))

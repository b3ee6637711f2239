r"""Converts RefCOCO, RefCOCO+ (UNC's splits) or RefCOCOg (UMD's splits) into a grounding data directory.

You need, from github.com/lichengunc/refer (refcoco.zip, refcoco+.zip or refcocog.zip), one folder that holds
  refs(unc).p        the expressions; for RefCOCOg refs(umd).p
  instances.json     the boxes
and train2014/, the images of COCO (train2014.zip of cocodataset.org), which all three use.

The pickle is untrusted: texts, numbers and containers are read from it; if it asks for anything else it is refused, and
nothing that it names is imported or run. The splits become train.tsv, valid.tsv, testA.tsv and testB.tsv, for RefCOCOg
train.tsv, valid.tsv and test.tsv: one row an expression, with the box as x0,y0,x1,y1 in pixels of the image in the row.
Rows stand image by image. An image whose size is not that of instances.json is a bad row: its boxes would be wrong.

A stopped conversion goes on where it stopped when the same command is given again.

Example:
  narvl prepare refcoco --dataset refcoco+ --annotations refer/refcoco+ --images coco/train2014 \
      --bpe-dir GPT2_BPE --out DATA
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narvl.data.text import clean_statement
from narvl.errors import DataError, UsageError
from narvl.prepare.convert import Conversion, convert
from narvl.prepare.encode import EncodedImage
from narvl.prepare.fields import BadRow, clean, number, number_id, show
from narvl.prepare.folders import ImageFolders, RowsByImage
from narvl.prepare.json_files import read_json, records
from narvl.prepare.options import Options, add_data_set_arguments
from narvl.prepare.output import BadRows
from narvl.prepare.plain_pickle import read_plain_pickle
from narvl.prepare.published import REFCOCO

HELP = "RefCOCO, RefCOCO+, RefCOCOg (refs(unc).p or refs(umd).p, instances.json)"

_REFS = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p"}
_SPLITS = {"train": "train", "val": "valid", "test": "test", "testA": "testA", "testB": "testB"}
_YEAR_FOLDER = re.compile(r"COCO_(\w+?)_\d+\.\w+")


@dataclass(frozen=True, slots=True)
class Region:
    """An expression and what it refers to.

    Attributes:
        sentence_id: its own id.
        image_id: COCO's id of the image.
        text: the expression.
        box: left, top, width, height in pixels of the original image.
        size: width and height of the image by the annotations, in pixels.
    """

    sentence_id: int
    image_id: int
    text: str
    box: tuple[float, float, float, float]
    size: tuple[int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``narvl prepare refcoco``."""
    parser.add_argument("--dataset", required=True, choices=list(_REFS), help="which of the three --annotations holds")
    add_data_set_arguments(
        parser,
        annotations="folder of the pickle and instances.json",
        images="folder train2014, or the one that holds it",
        splits=list(_SPLITS.values()),
    )


def run(args: argparse.Namespace) -> None:
    """Convert, and write a table to standard output."""
    options = Options.of(args)
    convert(read(options, args.dataset), options)


def read(options: Options, dataset: str) -> Conversion[Region]:
    """Read expressions and boxes.

    Args:
        options: the flags.
        dataset: ``refcoco``, ``refcoco+`` or ``refcocog``.

    Raises:
        DataError: a file, or an expression of it, cannot be used; or the pickle holds more than plain values.
        UsageError: a file is missing.
    """
    refs_path, instances_path = options.annotations / _REFS[dataset], options.annotations / "instances.json"
    for path in (refs_path, instances_path):
        if not path.is_file():
            raise UsageError(f"--annotations {options.annotations}: has no {path.name}. Give the folder of {dataset}.")
    bad_rows = BadRows(options.skip_bad_rows)
    rows: RowsByImage[Region] = RowsByImage(ImageFolders(options.images), bad_rows)
    refs = read_plain_pickle(refs_path)
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise DataError(f"{refs_path}: is no list of records. Download the file again.")
    instances = _Instances(instances_path)
    seen: set[int] = set()
    for index, ref in enumerate(refs):
        where = f"{refs_path}, [{index}]"
        sentences = ref.get("sentences")
        count = max(len(sentences), 1) if isinstance(sentences, list) else 1
        try:
            split = _split(ref)
            if not options.wants(split):
                continue
            name, size, box = instances.find(ref)
            if not isinstance(sentences, list) or not sentences:
                raise BadRow("without an expression", "its sentences are no list with entries. Correct it.")
        except BadRow as error:
            bad_rows.report(error.reason, f"{where}: {error}", count)
            continue
        subfolder = _YEAR_FOLDER.fullmatch(name)
        for number_in_ref, sentence in enumerate(sentences):
            place = f"{where}.sentences[{number_in_ref}]"
            try:
                sentence_id, text = _sentence(sentence)
                if sentence_id in seen:
                    raise BadRow("with a repeated sent_id", f"its sent_id {sentence_id} is taken. Remove one.")
                seen.add(sentence_id)
            except BadRow as error:
                bad_rows.report(error.reason, f"{place}: {error}")
                continue
            region = Region(sentence_id, number_id(ref, "image_id"), text, box, size)
            rows.add(split, name, subfolder[1] if subfolder else "", place, region)
    return Conversion(
        source="refcoco",
        task="grounding",
        splits=rows.splits(),
        fields=fields,
        files=[refs_path, instances_path],
        published=REFCOCO[dataset],
        bad_rows=bad_rows,
    )


def fields(region: Region, image: EncodedImage) -> Sequence[str]:
    """Return a row's columns; the box is in pixels of the image in the row, which may have been scaled down.

    Raises:
        BadRow: the image is not of the size that the annotations give it.
    """
    if image.original_size != region.size:
        raise BadRow(
            "with another image size",
            f"the image is {image.original_size[0]} x {image.original_size[1]} pixels, by instances.json "
            f"{region.size[0]} x {region.size[1]}: the box of sentence {region.sentence_id} would be wrong. Use the "
            "original image.",
        )
    left, top, width, height = region.box
    scale_x, scale_y = (image.size[axis] / image.original_size[axis] for axis in range(2))
    # Some boxes end a fraction of a pixel outside.
    right, bottom = min(left + width, region.size[0]), min(top + height, region.size[1])
    corners = (max(left, 0.0) * scale_x, max(top, 0.0) * scale_y, right * scale_x, bottom * scale_y)
    return str(region.sentence_id), str(region.image_id), region.text, ",".join(map(number, corners))


def _split(ref: Mapping[str, Any]) -> str:
    name = ref.get("split")
    if not isinstance(name, str) or name not in _SPLITS:
        raise BadRow("of an unknown split", f"unknown split {show(name)}. Known are {', '.join(_SPLITS)}.")
    return _SPLITS[name]


def _sentence(sentence: Any) -> tuple[int, str]:
    """Return id and text of a sentence: ``sent``, cleaned by its authors, or ``raw`` where that left nothing."""
    if not isinstance(sentence, dict):
        raise BadRow("without an expression", f"{show(sentence)} is no record. Correct it.")
    for written in (sentence.get(name) for name in ("sent", "raw")):
        text = clean(written) if isinstance(written, str) else ""
        if clean_statement(text, 1):
            return number_id(sentence, "sent_id"), text
    raise BadRow("with an empty expression", f"its sent is {show(sentence.get('sent'))}: no word in it. Write words.")


class _Instances:
    """``instances.json``: images and boxes by their ids.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        content = read_json(path, object_hook=_without_outline)
        self._path = path
        self._images = dict(self._by_id(records(path, content, "images")))
        self._annotations = dict(self._by_id(records(path, content, "annotations")))

    def _by_id(self, listed: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, record in enumerate(listed):
            try:
                yield number_id(record, "id"), record
            except BadRow as error:
                raise DataError(f"{self._path}, record {index}: {error}") from error

    def find(self, ref: Mapping[str, Any]) -> tuple[str, tuple[int, int], tuple[float, float, float, float]]:
        """Return file name and size of a reference's image, and its box (left, top, width, height in pixels).

        Raises:
            BadRow: one of them is missing or impossible.
        """
        image_id, annotation_id = number_id(ref, "image_id"), number_id(ref, "ann_id")
        image, annotation = self._images.get(image_id), self._annotations.get(annotation_id)
        if image is None:
            raise BadRow(
                "of an unknown image", f"image {image_id} is not in {self._path.name}. Use files of one release."
            )
        if annotation is None:
            raise BadRow(
                "of an unknown box", f"box {annotation_id} is not in {self._path.name}. Use files of one release."
            )
        if number_id(annotation, "image_id") != image_id:
            raise BadRow(
                "of another image's box",
                f"box {annotation_id} belongs to image {annotation['image_id']}, not {image_id}. Use files of one "
                "release.",
            )
        size = number_id(image, "width"), number_id(image, "height")
        return str(image.get("file_name")), size, _box(annotation, annotation_id, size)


def _box(annotation: Mapping[str, Any], annotation_id: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    box = annotation.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box):
        left, top, width, height = map(float, box)
        right, bottom = left + width, top + height
        inside = left >= -1 and top >= -1 and right <= size[0] + 1 and bottom <= size[1] + 1
        visible = max(left, 0) < min(right, size[0]) and max(top, 0) < min(bottom, size[1])
        if inside and visible:
            return left, top, width, height
    raise BadRow(
        "with an impossible box",
        f"box {annotation_id} is {show(box)} in an image of {size[0]} x {size[1]} pixels; left, top, width and "
        "height must lie in it. Correct it.",
    )


def _is_number(value: object) -> bool:
    # A whole number may be too long to be turned into a float; NaN is smaller than nothing.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _without_outline(record: dict[str, Any]) -> dict[str, Any]:
    """Drop the outlines, nine tenths of the file, while it is parsed (crowds have theirs in another form)."""
    record.pop("segmentation", None)
    return record

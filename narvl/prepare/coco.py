r"""Converts COCO captions, in Karpathy's split, into a captioning data directory.

You need
  dataset_coco.json          Karpathy's split with all captions (caption_datasets.zip, his page of 2015)
  train2014/ and val2014/    the images: train2014.zip and val2014.zip of cocodataset.org, unpacked

Images marked restval join the training split, as everybody does. Training gets one row a caption; validation and test
get one row an image, with all its captions as references joined by "&&". image-id is COCO's id, as its server wants it.

A stopped conversion goes on where it stopped when the same command is given again.

Example:
  narvl prepare coco --annotations karpathy/dataset_coco.json --images coco/train2014 coco/val2014 \
      --bpe-dir GPT2_BPE --out DATA
  (or --images coco, the folder that holds train2014 and val2014)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from narvl.data.text import clean_caption
from narvl.errors import UsageError
from narvl.prepare.convert import Conversion, convert, plain_fields
from narvl.prepare.fields import BadRow, clean, join, number_id, show
from narvl.prepare.folders import ImageFolders, RowsByImage
from narvl.prepare.json_files import ObjectNames, read_json, records
from narvl.prepare.options import Options, add_data_set_arguments, add_objects_argument
from narvl.prepare.output import BadRows
from narvl.prepare.published import COCO

HELP = "COCO captions in Karpathy's split (dataset_coco.json)"

_SPLITS = {"train": "train", "restval": "train", "val": "valid", "test": "test"}

Row = tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``narvl prepare coco``."""
    add_data_set_arguments(
        parser,
        annotations="dataset_coco.json",
        images="folders train2014 and val2014, or the folder that holds both",
        splits=COCO.splits,
    )
    add_objects_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Convert, and write a table to standard output."""
    options = Options.of(args, args.objects)
    convert(read(options), options)


def read(options: Options) -> Conversion[Row]:
    """Read the annotations.

    Raises:
        DataError: the file or an image of it cannot be used.
        UsageError: ``--annotations`` is a folder.
    """
    path = options.annotations
    if not path.is_file():
        raise UsageError(f"--annotations {path}: is a folder. Give the file dataset_coco.json itself.")
    bad_rows = BadRows(options.skip_bad_rows)
    objects = ObjectNames(options.objects)
    rows: RowsByImage[Row] = RowsByImage(ImageFolders(options.images), bad_rows)
    seen: set[int] = set()
    for index, image in enumerate(records(path, read_json(path), "images")):
        where = f"{path}, images[{index}]"
        try:
            split = _split(image)
            if not options.wants(split):
                continue
            image_id = number_id(image, "cocoid")
            if image_id in seen:
                raise BadRow("with a repeated cocoid", f"its cocoid {image_id} is an earlier image's. Remove one.")
            seen.add(image_id)
            captions = list(_captions(image, where, bad_rows))
            if not captions:
                raise BadRow("without a caption", "no usable caption is left in its sentences. Write one.")
        except BadRow as error:
            bad_rows.report(error.reason, f"{where}: {error}")
            continue
        if split != "train":
            captions = [(image_id, join(caption for _, caption in captions))]
        for row_id, caption in captions:
            row = (str(row_id), str(image_id), caption, objects.field(image_id))
            rows.add(split, str(image.get("filename")), str(image.get("filepath", "")), where, row)
    return Conversion(
        source="coco",
        task="captioning",
        splits=rows.splits(),
        fields=plain_fields,
        files=[path],
        published=COCO,
        bad_rows=bad_rows,
    )


def _split(image: dict[str, Any]) -> str:
    name = image.get("split")
    if not isinstance(name, str) or name not in _SPLITS:
        raise BadRow("of an unknown split", f"unknown split {show(name)}. Known are {', '.join(_SPLITS)}.")
    return _SPLITS[name]


def _captions(image: dict[str, Any], where: str, bad_rows: BadRows) -> Iterator[tuple[int, str]]:
    """Yield the id and text of each usable caption of an image.

    Raises:
        DataError: a caption cannot be used, and bad rows are not skipped.
    """
    sentences = image.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(sentence, dict) for sentence in sentences):
        raise BadRow("without a caption", "its sentences are no list of records. Download the file again.")
    for index, sentence in enumerate(sentences):
        try:
            raw = sentence.get("raw")
            text = clean(raw) if isinstance(raw, str) else ""
            if not clean_caption(text, 1):
                raise BadRow("with an empty caption", f"the caption is {show(raw)}: no word in it. Write words.")
            yield number_id(sentence, "sentid"), text
        except BadRow as error:
            bad_rows.report(error.reason, f"{where}.sentences[{index}]: {error}")

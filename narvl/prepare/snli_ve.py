"""Converts SNLI-VE into an entailment data directory.

You need, from the data set's repository (github.com/necla-ml/SNLI-VE), in one folder
  snli_ve_train.jsonl    snli_ve_dev.jsonl    snli_ve_test.jsonl
and flickr30k-images/, the photos of Flickr30k (files FLICKR_ID.jpg). Files that are not there are left out.

The splits become train.tsv, valid.tsv and test.tsv: one row a pair. The caption column holds sentence1, the premise of
SNLI that people saw when they wrote the hypothesis (sentence2): it is a caption of the photo. Pairs whose gold_label is
"-" (people did not agree) are left out and counted, as the data set's authors ask. Rows stand image by image.

A stopped conversion goes on where it stopped when the same command is given again.

Example:
  narvl prepare snli-ve --annotations snli_ve/ --images flickr30k-images/ --bpe-dir GPT2_BPE --out DATA
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narvl.data.entailment import ANSWER_OF
from narvl.errors import UsageError
from narvl.prepare.convert import Conversion, convert, plain_fields
from narvl.prepare.fields import BadRow, clean, show, text_field, text_id
from narvl.prepare.folders import ImageFolders, RowsByImage
from narvl.prepare.json_files import read_json_lines
from narvl.prepare.options import Options, add_data_set_arguments
from narvl.prepare.output import BadRows
from narvl.prepare.published import SNLI_VE

logger = logging.getLogger(__name__)

HELP = "SNLI-VE (snli_ve_train.jsonl, snli_ve_dev.jsonl, snli_ve_test.jsonl)"

_FILES = {"train": "snli_ve_train.jsonl", "valid": "snli_ve_dev.jsonl", "test": "snli_ve_test.jsonl"}
# The first releases misspell it.
_IMAGE_KEYS = ("Flickr30K_ID", "Flikr30kID")
_NO_AGREEMENT = "-"

Row = tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``narvl prepare snli-ve``."""
    add_data_set_arguments(
        parser, annotations="folder of the three files", images="folder of the photos", splits=SNLI_VE.splits
    )


def run(args: argparse.Namespace) -> None:
    """Convert, and write a table to standard output."""
    options = Options.of(args)
    convert(read(options), options)


def read(options: Options) -> Conversion[Row]:
    """Read the pairs.

    Raises:
        DataError: a file, or a pair of it, cannot be used.
        UsageError: files are missing.
    """
    bad_rows = BadRows(options.skip_bad_rows)
    rows: RowsByImage[Row] = RowsByImage(ImageFolders(options.images), bad_rows)
    wanted = {split: options.annotations / name for split, name in _FILES.items() if options.wants(split)}
    files = {split: path for split, path in wanted.items() if path.is_file()}
    if not files:
        names = ", ".join(path.name for path in wanted.values())
        raise UsageError(f"--annotations {options.annotations}: holds none of {names}. Give the folder of these files.")
    for split, path in wanted.items():
        if split not in files:
            logger.warning("%s: no %s; the split %s is left out", options.annotations, path.name, split)
            continue
        _read_split(split, path, rows, bad_rows)
    return Conversion(
        source="snli-ve",
        task="entailment",
        splits=rows.splits(),
        fields=plain_fields,
        files=list(files.values()),
        published=SNLI_VE,
        bad_rows=bad_rows,
    )


def _read_split(split: str, path: Path, rows: RowsByImage[Row], bad_rows: BadRows) -> None:
    seen: set[str] = set()
    for line, pair in read_json_lines(path):
        where = f"{path}, row {line}"
        if pair.get("gold_label") == _NO_AGREEMENT:
            bad_rows.leave_out("without an agreed label (gold_label '-')")
            continue
        try:
            pair_id = text_id(pair, "pairID")
            if pair_id in seen:
                raise BadRow("with a repeated pairID", f"its pairID {show(pair_id)} is an earlier row's. Remove one.")
            seen.add(pair_id)
            image_id = _image_id(pair)
            hypothesis, label = text_field(pair, "sentence2"), _label(pair)
            premise = _premise(pair)
        except BadRow as error:
            bad_rows.report(error.reason, f"{where}: {error}")
            continue
        rows.add(split, f"{image_id}.jpg", "", where, (pair_id, image_id, hypothesis, premise, label))


def _image_id(pair: Mapping[str, Any]) -> str:
    key = next((key for key in _IMAGE_KEYS if key in pair), _IMAGE_KEYS[0])
    return text_id(pair, key).removesuffix(".jpg")


def _premise(pair: Mapping[str, Any]) -> str:
    """Return the caption that the hypothesis was written for; empty where the file has none."""
    premise = pair.get("sentence1")
    if premise is None:
        return ""
    if not isinstance(premise, str):
        raise BadRow("without a usable sentence1", f"its sentence1 is {show(premise)}. Give a text, or leave it out.")
    return clean(premise)


def _label(pair: Mapping[str, Any]) -> str:
    label = pair.get("gold_label")
    if not isinstance(label, str) or label not in ANSWER_OF:
        raise BadRow("of an unknown label", f"its gold_label is {show(label)}. Write one of {', '.join(ANSWER_OF)}.")
    return label

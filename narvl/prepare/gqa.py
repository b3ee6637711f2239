"""Converts GQA, its balanced questions, into a vqa data directory.

You need, from the data set's page (cs.stanford.edu/people/dorarad/gqa/download.html), unpacked
  train_balanced_questions.json    val_balanced_questions.json    testdev_balanced_questions.json
  test_balanced_questions.json     (its answers are the server's; optional)
  images/                          images.zip, files IMAGE_ID.jpg
Question files that are not there are left out.

The splits become train.tsv, valid.tsv, testdev.tsv and test.tsv; papers report testdev. Each question has one right
answer, of confidence 1.0. Rows stand image by image. candidates.txt lists the answers of train and valid.
train_balanced_questions.json (above 1 GB) is parsed in memory; only question, answer and image of it are kept.

A stopped conversion goes on where it stopped when the same command is given again.

Example:
  narvl prepare gqa --annotations gqa/questions1.2/ --images gqa/images/ --bpe-dir GPT2_BPE --out DATA
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narvl.errors import DataError, UsageError
from narvl.prepare.answers import CANDIDATES, candidates, clean_answer, single_field
from narvl.prepare.convert import Conversion, convert, plain_fields
from narvl.prepare.fields import BadRow, clean, show, text_field, text_id
from narvl.prepare.folders import ImageFolders, RowsByImage
from narvl.prepare.json_files import ObjectNames, read_json
from narvl.prepare.options import Options, add_data_set_arguments, add_objects_argument
from narvl.prepare.output import BadRows
from narvl.prepare.published import GQA

logger = logging.getLogger(__name__)

HELP = "GQA, balanced (train_balanced_questions.json, val_..., testdev_...)"

_FILES = {
    "train": "train_balanced_questions.json",
    "valid": "val_balanced_questions.json",
    "testdev": "testdev_balanced_questions.json",
    "test": "test_balanced_questions.json",
}
_UNANSWERED = "test"

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Question:
    """What is kept of a question's record; values of any type, as the file has them."""

    record: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``narvl prepare gqa``."""
    add_data_set_arguments(
        parser,
        annotations="folder of the question files",
        images="folder of the images",
        splits=GQA.splits,
    )
    add_objects_argument(parser)
    parser.add_argument(
        "--min-answer-count",
        type=int,
        default=1,
        metavar="N",
        help=f"{CANDIDATES} lists the answers of at least N questions of train and valid (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Convert, and write a table to standard output."""
    options = Options.of(args, args.objects)
    convert(read(options, args.min_answer_count), options)


def read(options: Options, min_answer_count: int = 1) -> Conversion[Row]:
    """Read questions and answers.

    Raises:
        DataError: a file, or a question of it, cannot be used.
        UsageError: files are missing.
    """
    bad_rows = BadRows(options.skip_bad_rows)
    objects = ObjectNames(options.objects)
    rows: RowsByImage[Row] = RowsByImage(ImageFolders(options.images), bad_rows)
    counts: Counter[str] = Counter()
    wanted = {split: options.annotations / name for split, name in _FILES.items() if options.wants(split)}
    files = {split: path for split, path in wanted.items() if path.is_file()}
    if not files:
        names = ", ".join(path.name for path in wanted.values())
        raise UsageError(f"--annotations {options.annotations}: holds none of {names}. Unpack the archive there.")
    for split, path in wanted.items():
        if split not in files:
            logger.warning("%s: no %s; the split %s is left out", options.annotations, path.name, split)
            continue
        _read_split(split, path, objects, rows, counts, bad_rows)
    return Conversion(
        source="gqa",
        task="vqa",
        splits=rows.splits(),
        fields=plain_fields,
        files=list(files.values()),
        published=GQA,
        bad_rows=bad_rows,
        extra={CANDIDATES: candidates(counts, min_answer_count)} if counts else {},
    )


def _read_split(
    split: str, path: Path, objects: ObjectNames, rows: RowsByImage[Row], counts: Counter[str], bad_rows: BadRows
) -> None:
    seen: set[str] = set()
    for question_id, record in _questions(path):
        where = f"{path}, question {show(clean(question_id))}"
        try:
            row_id = text_id({"question id": question_id}, "question id")
            if row_id in seen:
                raise BadRow("with a repeated question id", "an earlier question has the same id. Remove one.")
            seen.add(row_id)
            image_id = text_id(record, "imageId")
            text = text_field(record, "question")
            answer = clean_answer(record.get("answer"))
            if not answer and split != _UNANSWERED:
                raise BadRow("without an answer", f"its answer is {show(record.get('answer'))}. Write one.")
        except BadRow as error:
            bad_rows.report(error.reason, f"{where}: {error}")
            continue
        if answer and split in ("train", "valid"):
            counts[answer] += 1
        row = (row_id, image_id, text, single_field(answer), objects.field(image_id))
        rows.add(split, f"{image_id}.jpg", "", where, row)


def _questions(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return id and record of each question, ids that occur twice included.

    Raises:
        DataError: the file holds something else than questions.
    """
    content = read_json(path, object_pairs_hook=_keep_questions)
    if not isinstance(content, list) or not all(isinstance(entry, tuple) for entry in content):
        raise DataError(f"{path}: maps no ids to questions. Give the file as it was downloaded.")
    questions = []
    for question_id, value in content:
        if not isinstance(value, _Question):
            raise DataError(
                f"{path}, question {show(question_id)}: has no question or imageId. Download the file again."
            )
        questions.append((question_id, value.record))
    return questions


def _keep_questions(pairs: list[tuple[str, Any]]) -> Any:
    """Keep three values of each question while the file is parsed; programs and scene graphs take ten times more."""
    record = dict(pairs)
    if "question" in record and "imageId" in record:
        return _Question({name: record.get(name) for name in ("question", "imageId", "answer")})
    return pairs if not pairs or any(isinstance(value, _Question) for _, value in pairs) else None

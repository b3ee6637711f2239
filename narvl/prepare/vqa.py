"""Converts VQA v2.0 into a vqa data directory.

You need, from visualqa.org/download.html ("Balanced Real Images"), all unpacked into one folder
  v2_OpenEnded_mscoco_train2014_questions.json      v2_mscoco_train2014_annotations.json
  v2_OpenEnded_mscoco_val2014_questions.json        v2_mscoco_val2014_annotations.json
  v2_OpenEnded_mscoco_test2015_questions.json       v2_OpenEnded_mscoco_test-dev2015_questions.json
and the images of cocodataset.org: train2014/, val2014/, test2015/. Splits whose files are not there are left out.

The splits become train.tsv, valid.tsv, test.tsv and test-dev.tsv; nobody but the server has answers to the last two, so
their column is empty. An answer given by 1, 2, 3 or at least 4 of the ten people gets the confidence 0.3, 0.6, 0.9 or
1.0: the score that it can expect from the official metric (which leaves out one of the ten in turn), and OFA's values.
Rows stand image by image, in the order of the question file. Answers are in lower case and otherwise as people gave
them. candidates.txt lists the answers that are the most common one of at least --min-answer-count questions of train
and valid, as the usual list of 3,129 answers does after normalising them.

A stopped conversion goes on where it stopped when the same command is given again.

Example:
  narvl prepare vqa --annotations vqa/ --images coco/ --bpe-dir GPT2_BPE --out DATA
  (coco/ holds train2014, val2014 and test2015; or name each: --images coco/train2014 coco/val2014 coco/test2015)
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narvl.errors import UsageError
from narvl.prepare.answers import CANDIDATES, candidates, clean_answer, voted_field
from narvl.prepare.convert import Conversion, convert, plain_fields
from narvl.prepare.fields import BadRow, number_id, show, text_field
from narvl.prepare.folders import ImageFolders, RowsByImage
from narvl.prepare.json_files import ObjectNames, read_json, records
from narvl.prepare.options import Options, add_data_set_arguments, add_objects_argument
from narvl.prepare.output import BadRows
from narvl.prepare.published import VQA

logger = logging.getLogger(__name__)

HELP = "VQA v2.0 (v2_OpenEnded_mscoco_*_questions.json, v2_mscoco_*_annotations.json)"

Row = tuple[str, ...]


@dataclass(frozen=True)
class _Split:
    """The files of a split: its name in theirs, the folder of its images, whether its answers are public."""

    name: str
    images: str
    answered: bool

    @property
    def questions(self) -> str:
        return f"v2_OpenEnded_mscoco_{self.name}_questions.json"

    @property
    def annotations(self) -> str:
        return f"v2_mscoco_{self.name}_annotations.json"


_SPLITS = {
    "train": _Split("train2014", "train2014", answered=True),
    "valid": _Split("val2014", "val2014", answered=True),
    "test": _Split("test2015", "test2015", answered=False),
    "test-dev": _Split("test-dev2015", "test2015", answered=False),
}


@dataclass(frozen=True)
class _Annotation:
    """The answers to a question."""

    image_id: object
    answers: list[str]
    most_common: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``narvl prepare vqa``."""
    add_data_set_arguments(
        parser,
        annotations="folder of the question and annotation files",
        images="folders train2014, val2014 and test2015, or the folder that holds them",
        splits=VQA.splits,
    )
    add_objects_argument(parser)
    parser.add_argument(
        "--min-answer-count",
        type=int,
        default=9,
        metavar="N",
        help=f"{CANDIDATES} lists the answers that are the most common of at least N questions (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Convert, and write a table to standard output."""
    options = Options.of(args, args.objects)
    convert(read(options, args.min_answer_count), options)


def read(options: Options, min_answer_count: int = 9) -> Conversion[Row]:
    """Read questions and answers.

    Raises:
        DataError: a file, or a question of it, cannot be used.
        UsageError: files are missing.
    """
    bad_rows = BadRows(options.skip_bad_rows)
    objects = ObjectNames(options.objects)
    rows: RowsByImage[Row] = RowsByImage(ImageFolders(options.images), bad_rows)
    counts: Counter[str] = Counter()
    files: list[Path] = []
    for split, names in _SPLITS.items():
        if not options.wants(split):
            continue
        found = _files(options, names)
        if not found:
            logger.warning("%s: no %s; the split %s is left out", options.annotations, names.questions, split)
            continue
        files += found
        _read_split(split, names, found, objects, rows, counts, bad_rows)
    if not files:
        known = ", ".join(names.questions for split, names in _SPLITS.items() if options.wants(split))
        raise UsageError(f"--annotations {options.annotations}: holds none of {known}. Unpack the archives there.")
    return Conversion(
        source="vqa",
        task="vqa",
        splits=rows.splits(),
        fields=plain_fields,
        files=files,
        published=VQA,
        bad_rows=bad_rows,
        extra={CANDIDATES: candidates(counts, min_answer_count)} if counts else {},
    )


def _files(options: Options, names: _Split) -> list[Path]:
    """Return the split's question file and, where its answers are public, its annotation file; [] without them."""
    questions = options.annotations / names.questions
    annotations = options.annotations / names.annotations
    if not questions.is_file():
        return []
    if not names.answered:
        return [questions]
    if not annotations.is_file():
        raise UsageError(
            f"--annotations {options.annotations}: has {questions.name} but no {annotations.name}. Add it."
        )
    return [questions, annotations]


def _read_split(
    split: str,
    names: _Split,
    files: list[Path],
    objects: ObjectNames,
    rows: RowsByImage[Row],
    counts: Counter[str],
    bad_rows: BadRows,
) -> None:
    annotations = _read_annotations(files[1], bad_rows) if names.answered else None
    seen: set[int] = set()
    for index, question in enumerate(records(files[0], read_json(files[0]), "questions")):
        where = f"{files[0]}, questions[{index}]"
        try:
            question_id = number_id(question, "question_id")
            if question_id in seen:
                raise BadRow("with a repeated question_id", f"its question_id {question_id} is taken. Remove one.")
            seen.add(question_id)
            image_id = number_id(question, "image_id")
            text = text_field(question, "question")
            answers = "" if annotations is None else _answers(annotations, question_id, image_id, files[1], counts)
        except BadRow as error:
            bad_rows.report(error.reason, f"{where}: {error}")
            continue
        row = (str(question_id), str(image_id), text, answers, objects.field(image_id))
        rows.add(split, f"COCO_{names.images}_{image_id:012d}.jpg", names.images, where, row)


def _answers(
    annotations: dict[int, _Annotation], question_id: int, image_id: int, path: Path, counts: Counter[str]
) -> str:
    """Return the answers column of a question, and count its most common answer."""
    annotation = annotations.get(question_id)
    if annotation is None:
        raise BadRow("without an annotation", f"question {question_id} has no annotation in {path.name}. Add one.")
    if str(annotation.image_id) != str(image_id):
        raise BadRow(
            "with another image in the annotation",
            f"question {question_id} is about image {image_id}, its annotation about {show(annotation.image_id)}.",
        )
    field = voted_field(annotation.answers)
    if not field:
        raise BadRow("without an answer", f"question {question_id} has no usable answer in {path.name}. Add one.")
    counts[annotation.most_common or Counter(filter(None, annotation.answers)).most_common(1)[0][0]] += 1
    return field


def _read_annotations(path: Path, bad_rows: BadRows) -> dict[int, _Annotation]:
    annotations: dict[int, _Annotation] = {}
    for index, record in enumerate(records(path, read_json(path, object_hook=_only_the_answer), "annotations")):
        try:
            question_id = number_id(record, "question_id")
            if question_id in annotations:
                raise BadRow("with a repeated annotation", f"question {question_id} has one already. Remove one.")
            answers = record.get("answers")
            if not isinstance(answers, list):
                raise BadRow("without an answer", f"question {question_id} has no list of answers. Add one.")
        except BadRow as error:
            bad_rows.report(error.reason, f"{path}, annotations[{index}]: {error}")
            continue
        most_common = clean_answer(record.get("multiple_choice_answer"))
        annotations[question_id] = _Annotation(
            record.get("image_id"), [clean_answer(text) for text in answers], most_common
        )
    return annotations


def _only_the_answer(record: dict[str, Any]) -> Any:
    """Keep the text alone of the millions of answer records, while they are parsed."""
    return record["answer"] if "answer" in record and "answer_id" in record else record

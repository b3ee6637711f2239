"""Reads VQAv2's annotation files: the ten raw answers to each question, and its types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from narvl.data.tsv import TsvFile
from narvl.errors import DataError
from narvl.evaluation.vqa import Question, RawAnswers, answer_type

_REMEDY = "Give the file as downloaded: v2_mscoco_val2014_annotations.json."


def read_annotations(path: str | Path) -> dict[str, Question]:
    """Read an annotation file (``v2_mscoco_SPLIT_annotations.json``).

    Args:
        path: the file.

    Returns:
        Each question by its id. A type of answer that the file does not tell is told from the answers.

    Raises:
        DataError: the file is missing, is no such file, or holds a question twice.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            content = json.load(file, object_hook=_shrink)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {_REMEDY}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}). {_REMEDY}") from error
    entries = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: no list 'annotations' in it, or an empty one. {_REMEDY}")
    questions: dict[str, Question] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, annotation {number}"
        if not isinstance(entry, dict) or "question_id" not in entry:
            raise DataError(f"{where}: not an object with a question_id: {str(entry)[:60]!r}. {_REMEDY}")
        key = str(entry["question_id"])
        if key in questions:
            raise DataError(f"{where}: question {key} appears a second time. {_REMEDY}")
        questions[key] = _question(entry, where)
    return questions


def match_questions(
    ids: Sequence[str], rows: TsvFile, annotations: Mapping[str, Question], path: str | Path
) -> dict[int, Question]:
    """Find the annotation of each row.

    Args:
        ids: the question-id of each row.
        rows: the split, for messages.
        annotations: each question by its id.
        path: the annotations' file, for messages.

    Returns:
        The question of each row, by its 0-based index.

    Raises:
        DataError: a row has no annotation.
    """
    missing = [index for index, question_id in enumerate(ids) if question_id not in annotations]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the {len(ids)} questions of {rows.path} are not among its {len(annotations)} "
            f"annotations, the first is {ids[missing[0]]!r} (row {missing[0] + 1}). Give the annotations of this split."
        )
    return {index: annotations[question_id] for index, question_id in enumerate(ids)}


def _shrink(entry: dict[str, Any]) -> Any:
    """Keep of each person's answer its text alone: millions of small objects would take gigabytes."""
    return entry["answer"] if "answer" in entry and "question_id" not in entry else entry


def _question(entry: dict[str, Any], where: str) -> Question:
    answers = entry.get("answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"{where}: no list of answers in it, each with its text. {_REMEDY}")
    kinds = {key: entry.get(key) for key in ("answer_type", "question_type")}
    wrong = [key for key, kind in kinds.items() if not isinstance(kind, str | None)]
    if wrong:
        raise DataError(f"{where}: {wrong[0]} is {kinds[wrong[0]]!r}, not a text. {_REMEDY}")
    truth = RawAnswers(tuple(answers))
    return Question(truth, kinds["answer_type"] or answer_type(truth.best), kinds["question_type"] or None)

"""``narvl score vqa``: soft accuracy and exact match, by type; reads VQAv2's annotations, writes its server's file."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from narvl.commands.scoring._outcome import (
    Outcome,
    left_out,
    nothing_to_score,
    server_id,
    table,
    two_columns,
    write_submission,
)

if TYPE_CHECKING:
    from narvl.data.tsv import TsvFile
    from narvl.evaluation.vqa import Share

HELP = "VQAv2's soft accuracy, by type, and exact match (GQA's accuracy)"

#: Where the truth came from, as results files tell it.
COLUMN, ANNOTATIONS = "answers column", "annotations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only this task has."""
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="judge by VQAv2's annotations (v2_mscoco_..._annotations.json), matched by question-id, instead of the "
        "answers column",
    )
    parser.add_argument(
        "--submission", metavar="FILE", help="write the answers for the VQA evaluation server, by question-id, to FILE"
    )


def score(args: argparse.Namespace) -> Outcome:
    """Score answers.

    Raises:
        DataError: results, data or annotations cannot be used, or there are no answers and no ``--submission``.
        UsageError: the submission file cannot be written.
    """
    from narvl.data.vqa import answers
    from narvl.evaluation.annotations import match_questions, read_annotations
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.references import check_ids, open_split, read_rows
    from narvl.evaluation.vqa import Question, WeightedAnswers, answer_type, score_answers

    said = {index: generation.text for index, generation in read_generations(args.results).items()}
    rows = open_split(args.data, args.split, "vqa")
    check_ids(said, args.results, rows)
    read = read_rows(rows, lambda fields: (fields[0].strip(), WeightedAnswers(tuple(answers(fields)))))
    ids = [question_id for question_id, _ in read]
    if args.annotations:
        questions = match_questions(ids, rows, read_annotations(args.annotations), args.annotations)
    else:
        questions = {i: Question(truth, answer_type(truth.best)) for i, (_, truth) in enumerate(read) if truth.answers}
    if not questions and not args.submission:
        remedy = "Give VQAv2's --annotations FILE, or write what the VQA server scores with --submission FILE."
        raise nothing_to_score(rows, "an answer", remedy)

    text, figures = f"{rows.path} has no answers: nothing was scored.\n", None
    if questions:
        scores = score_answers(said, questions)
        figures = {
            **dataclasses.asdict(scores.overall),
            "truth": ANNOTATIONS if args.annotations else COLUMN,
            "by_answer_type": _figures(scores.by_answer_type),
            "by_question_type": _figures(scores.by_question_type),
        }
        text = _describe(scores.overall, figures["truth"])
        text += "\n" + _by_type("answer type", scores.by_answer_type)
        if scores.by_question_type:
            text += "\n" + _by_type("question type", scores.by_question_type)
        text += left_out(len(questions), rows, "answer")
    if args.submission:
        text += write_submission(args.submission, _entries(ids, said, rows), "question_id")
    return Outcome(text, figures)


def _figures(shares: Mapping[str, Share]) -> dict[str, Any]:
    return {name: dataclasses.asdict(share) for name, share in shares.items()}


def _describe(share: Share, truth: str) -> str:
    return two_columns(
        [
            ("questions", str(share.samples)),
            ("judged by", truth),
            ("accuracy", f"{share.accuracy:.2%}"),
            ("exact match", f"{share.exact_match:.2%}"),
        ]
    )


def _by_type(heading: str, shares: Mapping[str, Share]) -> str:
    cells = [
        (name, str(share.samples), f"{share.accuracy:.2%}", f"{share.exact_match:.2%}")
        for name, share in shares.items()
    ]
    return table((heading, "questions", "accuracy", "exact match"), cells)


def _entries(ids: list[str], said: Mapping[int, str], rows: TsvFile) -> list[dict[str, Any]]:
    return [
        {"question_id": server_id(question_id, "question-id", rows.where(index)), "answer": said[index]}
        for index, question_id in enumerate(ids)
    ]

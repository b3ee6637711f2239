"""``narvl score entailment``: accuracy, the recall of each class, and the confusion matrix."""

from __future__ import annotations

import argparse
import dataclasses

from narvl.commands.scoring._outcome import Outcome, left_out, nothing_to_score, table, two_columns

HELP = "accuracy, recall of each class, and who was taken for whom"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only this task has: none."""


def score(args: argparse.Namespace) -> Outcome:
    """Score answers.

    Raises:
        DataError: results or data cannot be used, or no row has a label.
    """
    from narvl.data.entailment import ANSWER_OF, ANSWERS, label
    from narvl.evaluation.entailment import OTHER, score_entailment
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.references import check_ids, open_split, read_rows

    said = {index: generation.text for index, generation in read_generations(args.results).items()}
    rows = open_split(args.data, args.split, "entailment")
    check_ids(said, args.results, rows)
    truths = {index: truth for index, truth in enumerate(read_rows(rows, label)) if truth is not None}
    if not truths:
        raise nothing_to_score(rows, "a label", f"Give a split with labels (column 6: {', '.join(ANSWER_OF)}).")
    scores = score_entailment(said, truths)
    lines = [("hypotheses", str(scores.samples)), ("accuracy", f"{scores.accuracy:.2%}")]
    cells = []
    for name, answer in ANSWER_OF.items():
        recall = scores.recall[answer]
        counts = [str(scores.confusion[answer][column]) for column in (*ANSWERS, OTHER)]
        cells.append([f"{name} ({answer})", *counts, "-" if recall is None else f"{recall:.2%}"])
    text = two_columns(lines) + "\n" + table(("true, said:", *ANSWERS, OTHER, "recall"), cells)
    return Outcome(text + left_out(len(truths), rows, "label"), dataclasses.asdict(scores))

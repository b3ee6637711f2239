"""Visual entailment: accuracy, the recall of each class, and who was taken for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from narvl.data.entailment import ANSWERS

#: Column of the confusion matrix for whatever is none of the answers.
OTHER = "other"


@dataclass(frozen=True)
class EntailmentScores:
    """The scores of one set of answers.

    Attributes:
        samples: number of answers.
        accuracy: share of right answers, in [0, 1].
        recall: of each true answer, the share that was said, in [0, 1]; None where it is never true.
        confusion: of each true answer, how often each answer, or ``other``, was said.
    """

    samples: int
    accuracy: float
    recall: dict[str, float | None]
    confusion: dict[str, dict[str, int]]


def score_entailment(predictions: Mapping[int, str], truths: Mapping[int, str]) -> EntailmentScores:
    """Score answers.

    Args:
        predictions: what the model said of each hypothesis; may be any text. Case and outer blanks do not count.
        truths: one or more true answers, each of ``narvl.data.entailment.ANSWERS``.
    """
    confusion = {truth: dict.fromkeys((*ANSWERS, OTHER), 0) for truth in ANSWERS}
    for index, truth in truths.items():
        said = predictions[index].strip().lower()
        confusion[truth][said if said in ANSWERS else OTHER] += 1
    recall = {truth: row[truth] / sum(row.values()) if any(row.values()) else None for truth, row in confusion.items()}
    right = sum(row[truth] for truth, row in confusion.items())
    return EntailmentScores(len(truths), right / len(truths), recall, confusion)

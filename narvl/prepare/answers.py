"""Answers to a question: the column ``answers`` with a confidence for each, and the vocabulary of candidate answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from narvl.data.vqa import CONFIDENCE_END, confidence, write_answers
from narvl.prepare.fields import clean

CANDIDATES = "candidates.txt"


def clean_answer(answer: object) -> str:
    """Return an answer in lower case, fit for the column; empty where it is no text."""
    return clean(answer.replace(CONFIDENCE_END, " ")).lower() if isinstance(answer, str) else ""


def voted_field(answers: Iterable[str]) -> str:
    """Write the column for the answers of ten people: each distinct answer with the soft accuracy that it earns.

    An answer given by 1, 2, 3 or at least 4 people has the confidence 0.3, 0.6, 0.9 or 1.0: its expected score in the
    official metric, which compares with nine of the ten people in turn. The most frequent answer comes first; of
    equally frequent ones, the one given first.

    Args:
        answers: cleaned answers; empty ones are nobody's vote.

    Returns:
        ``confidence|!+answer`` joined by ``&&``; empty without any answer.
    """
    votes = Counter(answer for answer in answers if answer)
    return write_answers((confidence(count), answer) for answer, count in votes.most_common())


def single_field(answer: str) -> str:
    """Write the column for the one right answer; empty where it is unknown."""
    return write_answers([(1.0, answer)] if answer else [])


def candidates(counts: Counter[str], min_count: int) -> str:
    """Write the vocabulary of candidate answers: one a line, the most frequent first, ties in alphabetical order.

    Args:
        counts: how many questions have each answer.
        min_count: an answer must have at least so many.
    """
    kept = sorted((-count, answer) for answer, count in counts.items() if answer and count >= min_count)
    return "".join(f"{answer}\n" for _, answer in kept)

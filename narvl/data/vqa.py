"""Question-answering rows (VQAv2, GQA): from the TSV's columns to prompt, answers and weight."""

from __future__ import annotations

from collections.abc import Iterable

from narvl.data.sample import Example
from narvl.data.text import clean_prompt
from narvl.data.tsv import SEPARATOR, read_number
from narvl.errors import DataError

#: Stands between an answer's confidence and the answer.
CONFIDENCE_END = "|!+"

# People who must have given an answer for it to count in full.
_AGREEING = 3


def prompt(question: str, objects: list[str], max_words: int) -> str:
    """Write the prompt of a question.

    Args:
        question: as people wrote it.
        objects: names of detected objects to tell the model; may be empty.
        max_words: words of the question that are kept.

    Raises:
        DataError: the question is empty.
    """
    text = clean_prompt(question, max_words)
    if not text.strip("?"):
        raise DataError(f"the question is {question!r}: nothing is left to ask. Write words or drop the row.")
    tags = f" object: {' '.join(objects)}" if objects else ""
    return f" {text.rstrip('?').rstrip()}?{tags}"


def answers(fields: list[str]) -> list[tuple[float, str]]:
    """Return a row's answers with their confidences (the soft accuracy that each earns, 0 to 1); empty without any.

    Raises:
        DataError: an answer is not written ``confidence|!+answer``.
    """
    return [_answer(entry) for entry in fields[3].split(SEPARATOR) if entry.strip()]


def write_answers(found: Iterable[tuple[float, str]]) -> str:
    """Write the answers column: the inverse of ``answers``, confidences to four places."""
    return SEPARATOR.join(f"{round(confidence, 4)}{CONFIDENCE_END}{answer}" for confidence, answer in found)


def confidence(votes: int, people: int = 10) -> float:
    """Return VQAv2's soft accuracy of an answer: min(n / 3, 1), averaged over leaving out each person in turn.

    Args:
        votes: how many people gave the answer.
        people: how many answered. Of fewer than four, all the others agreeing counts in full; of one, the answer is
            right or wrong.

    Returns:
        A value in [0, 1]: of ten people 0.3, 0.6, 0.9 and 1 for 1, 2, 3 and 4 or more.
    """
    if people < 2:
        return float(votes)
    enough = min(_AGREEING, people - 1)
    return (votes * min((votes - 1) / enough, 1) + (people - votes) * min(votes / enough, 1)) / people


def object_names(fields: list[str], count: int) -> list[str]:
    """Return the first ``count`` names of detected objects."""
    return [name.strip() for name in fields[4].split(SEPARATOR) if name.strip()][:count]


def example(fields: list[str], labelled: bool, max_words: int, max_objects: int) -> Example:
    """Turn a row into an example: the answer of highest confidence is the target, and its confidence the weight.

    Args:
        fields: the row (``narvl.data.tsv.COLUMNS["vqa"]``).
        labelled: whether the row must have an answer.
        max_words: words of the question that are kept.
        max_objects: names of detected objects in the prompt; 0 for none.

    Raises:
        DataError: the question is empty, or the answers are missing, malformed or all of confidence 0.
    """
    found = answers(fields)
    if labelled and not found:
        raise DataError("the answers (column 4) are empty. Write confidence|!+answer or drop the row.")
    best = max(found, key=lambda pair: pair[0], default=(1.0, ""))
    weight, answer = best
    if labelled and not weight:
        raise DataError(
            f"the answers (column 4) are {fields[3][:80]!r}: none has a confidence above 0, and nothing would be "
            "learnt from them. Write one or drop the row."
        )
    return Example(
        prompt=prompt(fields[2], object_names(fields, max_objects), max_words),
        target=f" {answer}" if answer else "",
        image=fields[5],
        weight=weight,
        others=tuple((f" {other}", share) for share, other in found if (share, other) != best and share > 0),
    )


def _answer(entry: str) -> tuple[float, str]:
    number, separator, text = entry.partition(CONFIDENCE_END)
    try:
        value = read_number(number)
    except ValueError:
        value = -1.0
    if not separator or not text.strip() or not 0.0 <= value <= 1.0:
        raise DataError(
            f"the answers (column 4) hold {entry!r}. Write each as confidence{CONFIDENCE_END}answer, the "
            f"confidence from 0 to 1, joined by {SEPARATOR}."
        )
    return value, text.strip()

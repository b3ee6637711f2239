"""``narvl report`` on question-answering runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from narvl.commands.reporting._task import Chosen, Column, Record, percent
from narvl.errors import DataError

if TYPE_CHECKING:
    from narvl.evaluation.grid import Picture

KEYS = frozenset(("accuracy", "exact_match", "truth"))
MARKS = ("an answer that people gave", "nobody's answer")


def columns(records: Mapping[str, Record]) -> list[Column]:
    """Return soft accuracy and exact match.

    Raises:
        DataError: some runs were judged by the answers column, others by annotations.
    """
    truths = {name: record["truth"] for name, record in records.items()}
    if len(set(truths.values())) > 1:
        raise DataError(f"the runs were judged by different truths ({truths}): score each again, alike.")
    return [
        ("accuracy", lambda record: percent(record["accuracy"])),
        ("exact match", lambda record: percent(record["exact_match"])),
    ]


def notes(records: Mapping[str, Record]) -> list[str]:
    """Tell what the two columns are."""
    first = next(iter(records.values()))
    return [
        f"Accuracy is VQAv2's soft accuracy, judged by the {first['truth']}; exact match (GQA's accuracy) asks for the "
        f"best answer word for word; {first['samples']} questions."
    ]


def pictures(chosen: Chosen) -> list[Picture]:
    """Return each image with its question, what people answered, and the runs' answers."""
    from narvl.data.image import decode_image
    from narvl.data.vqa import answers
    from narvl.evaluation.grid import Caption, Picture
    from narvl.evaluation.references import read_row
    from narvl.evaluation.vqa import weighted_accuracy

    rows = chosen.rows
    found = []
    for index in chosen.indices:
        question, truth = read_row(rows, index, lambda fields: (fields[2], answers(fields)))
        captions = [Caption("question", question)]
        if truth:
            captions.append(Caption("people", ", ".join(f"{answer} ({earned:.0%})" for earned, answer in truth)))
        for name, said in chosen.said.items():
            right = weighted_accuracy(said[index], truth) > 0 if truth else None
            captions.append(Caption(name, said[index], right))
        found.append(Picture(read_row(rows, index, lambda fields: decode_image(fields[5])), captions))
    return found

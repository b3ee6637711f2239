"""``narvl report`` on entailment runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from narvl.commands.reporting._task import Chosen, Column, Record, percent

if TYPE_CHECKING:
    from narvl.evaluation.grid import Picture

KEYS = frozenset(("accuracy", "recall"))
MARKS = ("right", "wrong")


def columns(records: Mapping[str, Record]) -> list[Column]:
    """Return the accuracy and the recall of each class."""
    from narvl.data.entailment import ANSWER_OF

    shown: list[Column] = [("accuracy", lambda record: percent(record["accuracy"]))]
    return shown + [(label, _recall(answer)) for label, answer in ANSWER_OF.items()]


def notes(records: Mapping[str, Record]) -> list[str]:
    """Tell what the columns are."""
    first = next(iter(records.values()))
    return [
        f"The columns of the three classes are recalls, the share of each that is found; {first['samples']} hypotheses."
    ]


def pictures(chosen: Chosen) -> list[Picture]:
    """Return each image with the hypothesis, its label, and the runs' answers."""
    from narvl.data.entailment import ANSWER_OF, label
    from narvl.data.image import decode_image
    from narvl.evaluation.grid import Caption, Picture
    from narvl.evaluation.references import read_row

    label_of = {answer: name for name, answer in ANSWER_OF.items()}
    rows = chosen.rows
    found = []
    for index in chosen.indices:
        hypothesis, truth = read_row(rows, index, lambda fields: (fields[3], label(fields)))
        captions = [Caption("hypothesis", hypothesis)]
        if truth:
            captions.append(Caption("label", f"{label_of[truth]} ({truth})"))
        for name, said in chosen.said.items():
            right = said[index].strip().lower() == truth if truth else None
            captions.append(Caption(name, said[index], right))
        found.append(Picture(read_row(rows, index, lambda fields: decode_image(fields[2])), captions))
    return found


def _recall(answer: str) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        value = record["recall"].get(answer)
        return "-" if value is None else percent(value)

    return cell

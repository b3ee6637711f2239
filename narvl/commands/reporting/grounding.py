"""``narvl report`` on grounding runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from narvl.commands.reporting._task import Chosen, Column, Record, percent

if TYPE_CHECKING:
    from narvl.evaluation.grid import Picture

KEYS = frozenset(("accuracy", "mean_iou", "invalid"))
MARKS = ("IoU of 0.5 or more", "less, or no box")


def columns(records: Mapping[str, Record]) -> list[Column]:
    """Return Acc@0.5, the mean IoU, and how many outputs are no box."""
    return [
        ("Acc@0.5", lambda record: percent(record["accuracy"])),
        ("mean IoU", lambda record: f"{record['mean_iou']:.3f}"),
        ("invalid", lambda record: str(record["invalid"])),
    ]


def notes(records: Mapping[str, Record]) -> list[str]:
    """Tell what the columns are."""
    first = next(iter(records.values()))
    return [
        f"Acc@0.5 is the share of boxes with an IoU of at least 0.5; {first['samples']} boxes. Invalid outputs (not "
        "four numbers, or without area) count as misses, with an IoU of 0."
    ]


def pictures(chosen: Chosen) -> list[Picture]:
    """Return each image with the true box and the runs' boxes, a colour a run."""
    from narvl.data.boxes import parse_fractions, to_pixels
    from narvl.data.grounding import box
    from narvl.data.image import decode_image
    from narvl.evaluation.grid import RUNS, TRUTH, Caption, DrawnBox, Picture
    from narvl.evaluation.grounding import THRESHOLD, iou, is_valid
    from narvl.evaluation.references import read_row

    rows = chosen.rows
    found = []
    for index in chosen.indices:
        text, truth = read_row(rows, index, lambda fields: (fields[2], box(fields)))
        image = read_row(rows, index, lambda fields: decode_image(fields[4]))
        captions = [Caption("text", text)]
        boxes = []
        if truth:
            captions.append(Caption("truth", _corners(truth), colour=TRUTH))
            boxes.append(DrawnBox(truth, TRUTH))
        for order, (name, said) in enumerate(chosen.said.items()):
            colour = RUNS[order % len(RUNS)]
            fractions = parse_fractions(said[index])
            drawn = to_pixels(fractions, *image.size) if fractions else None
            if drawn is None or not is_valid(drawn):
                captions.append(Caption(name, f"no box: {said[index]}", False if truth else None, colour))
                continue
            overlap = iou(drawn, truth) if truth else None
            line = _corners(drawn) if overlap is None else f"{_corners(drawn)}, IoU {overlap:.2f}"
            captions.append(Caption(name, line, None if overlap is None else overlap >= THRESHOLD, colour))
            boxes.append(DrawnBox(drawn, colour))
        found.append(Picture(image, captions, boxes))
    return found


def _corners(box: tuple[float, ...]) -> str:
    return " ".join(f"{value:.0f}" for value in box)

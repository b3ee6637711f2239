"""``narvl score grounding``: Acc@0.5 and the mean IoU, by size, with the boxes that are none counted."""

from __future__ import annotations

import argparse
import dataclasses

from narvl.commands.scoring._outcome import Outcome, left_out, nothing_to_score, table, two_columns

HELP = "Acc@0.5 and mean IoU of boxes; what is no box is counted, as a miss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only this task has: none."""


def score(args: argparse.Namespace) -> Outcome:
    """Score boxes.

    Raises:
        DataError: results or data cannot be used, or no row has a box.
    """
    from narvl.data.boxes import parse_fractions, to_pixels
    from narvl.data.grounding import box
    from narvl.data.image import upright_size
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.grounding import score_boxes
    from narvl.evaluation.references import check_ids, open_split, read_rows

    said = {index: generation.text for index, generation in read_generations(args.results).items()}
    rows = open_split(args.data, args.split, "grounding")
    check_ids(said, args.results, rows)
    read = read_rows(rows, lambda fields: (truth, upright_size(fields[4])) if (truth := box(fields)) else None)
    truths = {index: row[0] for index, row in enumerate(read) if row}
    if not truths:
        raise nothing_to_score(rows, "a box", "Give a split with boxes (column 4: x0,y0,x1,y1 in pixels).")
    predictions = {}
    for index, row in enumerate(read):
        if row:
            fractions = parse_fractions(said[index])
            predictions[index] = to_pixels(fractions, *row[1]) if fractions else None
    scores = score_boxes(predictions, truths)
    figures = {
        **dataclasses.asdict(scores.overall),
        "invalid": scores.invalid,
        "malformed": scores.malformed,
        "without_area": scores.without_area,
        "by_size": {name: dataclasses.asdict(share) for name, share in scores.by_size.items()},
    }
    lines = [
        ("boxes", str(scores.overall.samples)),
        ("Acc@0.5", f"{scores.overall.accuracy:.2%}"),
        ("mean IoU", f"{scores.overall.mean_iou:.4f}"),
        ("invalid", f"{scores.invalid} ({scores.invalid / scores.overall.samples:.2%})"),
        ("invalid: not four numbers", str(scores.malformed)),
        ("invalid: without area", str(scores.without_area)),
    ]
    sizes = [
        (name, str(share.samples), f"{share.accuracy:.2%}", f"{share.mean_iou:.4f}")
        for name, share in scores.by_size.items()
    ]
    text = two_columns(lines) + "\n" + table(("size (COCO)", "boxes", "Acc@0.5", "mean IoU"), sizes)
    return Outcome(text + left_out(len(truths), rows, "box"), figures)

"""Supplement, figure 1: does an error in a box's first coordinate carry over to the other three?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Decoded, Runs, Trained
from narvl.tables.table import Entry, Values, differences, uneven, verdict

TITLE = "Supplement, figure 1: error propagation, grounding"
SEEDS = 3
NOTE = (
    "Boxes by the error of their first coordinate, x0; errors are in % of the image's side, the other three's are "
    "means. The slope is that of the least-squares line through all boxes: how fast the others' error grows with x0's. "
    "AR says a coordinate knowing those before it; NAR says all at once."
)

NAMES = {"ofa": "AR", "narvl": "NAR"}
#: The buckets' bounds, in % of the image's side.
_BUCKETS = {0: 2, 2: 5, 5: 10, 10: 20, 20: 40, 40: float("inf")}


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare table 1's models of grounding, decoded on the first split."""
    dataset = runs.scale.dataset("grounding")
    split = next(iter(dataset.splits))
    found = []
    for seed in seeds:
        for name, model in (("AR", runs.teacher(dataset, seed)), ("NAR", runs.student(dataset, seed))):
            found += _read(name, model, runs.decoded(model, split))
    return found


def _read(name: str, model: Trained, decoded: Decoded) -> list[Entry]:
    jobs = (model.job, decoded.job)
    rows = [Entry(bucket_row(name, low), jobs, partial(_bucket, decoded, low, high)) for low, high in _BUCKETS.items()]
    return [Entry(f"{name}, all boxes", jobs, partial(_slope, decoded)), *rows]


def _bucket(decoded: Decoded, low: float, high: float) -> Values:
    inside = [others for first, others in errors(decoded) if low <= first < high]
    return {"others' error": statistics.fmean(inside), "boxes": float(len(inside))} if inside else {"boxes": 0.0}


def _slope(decoded: Decoded) -> Values:
    first, others = zip(*errors(decoded), strict=True)
    return {"slope": statistics.linear_regression(first, others).slope}


def bucket_row(name: str, low: int) -> str:
    """Name a bucket's row."""
    high = _BUCKETS[low]
    return f"{name}, x0 off by {low}% or more" if high == float("inf") else f"{name}, x0 off by {low} to {high}%"


def errors(decoded: Decoded) -> list[tuple[float, float]]:
    """Return each box's error of x0, and the mean error of its other coordinates, in % of the image's side.

    Texts that are no box have no coordinates to compare, and are left out.
    """
    from narvl.data import grounding
    from narvl.data.boxes import parse_fractions, to_fractions
    from narvl.data.image import upright_size
    from narvl.data.tsv import COLUMNS, TsvFile
    from narvl.evaluation.generations import read_generations

    rows = TsvFile(decoded.data / f"{decoded.split}.tsv", COLUMNS["grounding"])
    found = []
    for index, generation in read_generations(decoded.texts).items():
        fields = rows[index]
        said, truth = parse_fractions(generation.text), grounding.box(fields)
        if said is None or truth is None:
            continue
        off = [
            100 * abs(one - other)
            for one, other in zip(said, to_fractions(truth, *upright_size(fields[4])), strict=True)
        ]
        found.append((off[0], statistics.fmean(off[1:])))
    return found


def claims(figures: Figures) -> list[str]:
    """AR's errors propagate more than NAR's."""
    rows = [f"{name}, all boxes" for name in NAMES.values()]
    more = {seed: 100 * value for seed, value in differences(figures, "slope", *rows).items()}
    shared = uneven(figures, "slope", *rows)
    return [verdict("AR's errors propagate more than NAR's", more, "points of slope x 100", shared=shared)]


def draw(figures: Figures) -> plots.Drawing:
    """Draw the others' error by x0's, a line a model."""
    lines = {name: {bucket_row(name, low): float(low) for low in _BUCKETS} for name in NAMES.values()}
    return plots.curves(figures, lines, ["others' error"], "error of x0, % of the side, from")

"""Table 10: captions by the number of queries."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, compare, quality, speed

TITLE = "Table 10: the number of queries, captions"
SEEDS = 1
NOTE = (
    "The paper trains each for one epoch. On scenes no caption of the teacher's can be said by 10 queries, which "
    "training therefore refuses: the fewest that can are in their place."
)


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a number of queries."""
    dataset = runs.scale.dataset("captioning")
    epochs = () if runs.scale.weights is None else ("--max-epoch", "1")
    found, first = [], {}
    rows = {}
    for number, published in paper.QUERIES.items():
        queries = runs.scale.queries_of("captioning", number)
        row = f"{queries} queries" if queries == number else f"{queries} queries (paper: {number})"
        flags = ("--num-queries", str(queries), *epochs)
        run = f"narvl-queries{queries}{'-epoch' if epochs else ''}"
        models = [runs.student(dataset, seed, run, flags) for seed in seeds]
        first[row] = models[0]
        rows[row, "parallel"] = row, published
        found += [quality(runs, row, model, published) for model in models]
    return [*found, *speed(runs.timed("queries", first), rows)]


def claims(figures: Figures) -> list[str]:
    """Too few hurt, too many hurt a little."""
    if len(figures.rows) < 3:  # few, enough and the most that have been run
        return []
    few, enough, *_, most = figures.rows
    return [
        compare(f"{few} are too few: {enough} are above", figures, "CIDEr", enough, few),
        compare(f"{most} are too many: {enough} are above", figures, "CIDEr", enough, most),
    ]


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr and time by the number of queries."""
    numbers = {row: float(row.split()[0]) for row in figures.rows}
    return plots.curves(figures, {"": numbers}, ["CIDEr", "ms"], "queries")

"""Table 10: captions by the number of queries."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, differences, quality, speed, verdict

TITLE = "Table 10: the number of queries, captions"
SEEDS = 1
NOTE = "The paper trains each for one epoch."


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a number of queries."""
    dataset = runs.scale.dataset("captioning")
    epochs = () if runs.scale.weights is None else ("--max-epoch", "1")
    found, first = [], {}
    for queries, published in paper.QUERIES.items():
        flags = ("--num-queries", str(queries), *epochs)
        run = f"narvl-queries{queries}{'-epoch' if epochs else ''}"
        models = [runs.student(dataset, seed, run, flags) for seed in seeds]
        first[row_of(queries)] = models[0]
        found += [quality(runs, row_of(queries), model, published) for model in models]
    rows = {(row_of(queries), "parallel"): (row_of(queries), published) for queries, published in paper.QUERIES.items()}
    return [*found, *speed(runs.timed("queries", first), rows)]


def row_of(queries: int) -> str:
    """Name the row of a number of queries."""
    return f"{queries} queries"


def claims(figures: Figures) -> list[str]:
    """Too few hurt, too many hurt a little."""
    few, enough, *_, most = (row_of(queries) for queries in paper.QUERIES)
    cost = differences(figures, "CIDEr", enough, few), differences(figures, "CIDEr", enough, most)
    return [
        verdict(f"{few} are too few: {enough} are above", cost[0], "CIDEr"),
        verdict(f"{most} are too many: {enough} are above", cost[1], "CIDEr"),
    ]


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr and time by the number of queries."""
    return plots.curves(figures, {"": {row_of(n): float(n) for n in paper.QUERIES}}, ["CIDEr", "ms"], "queries")

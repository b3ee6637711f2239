"""Beyond the paper: the number of queries on every task."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.scales import METRIC
from narvl.tables.table import Entry, compare, quality

TITLE = "Beyond the paper: 10, 20, 30, 40 queries on every task"
SEEDS = 1
NOTE = (
    "Boxes are said by position, where queries beyond the fifth have nothing to say. On scenes captions have 12 "
    "queries in place of 10, which can say none of them, so that training refuses."
)


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a task and number of queries."""
    found = []
    for task in METRIC:
        dataset = runs.scale.dataset(task)
        for queries in (runs.scale.queries_of(task, number) for number in runs.scale.queries):
            models = [
                runs.student(dataset, seed, f"narvl-queries{queries}", ("--num-queries", str(queries)))
                for seed in seeds
            ]
            found += [quality(runs, _row(dataset.name, queries), model) for model in models]
    return found


def _row(name: str, queries: int) -> str:
    return f"{name}: {queries} queries"


def _numbers(figures: Figures, name: str) -> list[int]:
    return sorted(int(row.split()[-2]) for row in figures.rows if row.startswith(f"{name}: "))


def claims(figures: Figures) -> list[str]:
    """Compare the most queries with the fewest."""
    said = []
    for name in dict.fromkeys(row.partition(":")[0] for row in figures.rows):
        numbers = _numbers(figures, name)
        few, many = _row(name, numbers[0]), _row(name, numbers[-1])
        metrics = [metric for metric in figures.metrics if metric.startswith(tuple(METRIC.values()))]
        metric = next((metric for metric in metrics if figures.of(few, metric)), None)
        if metric is not None and few != many:
            said.append(compare(f"{many} are above {few}", figures, metric, many, few))
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw quality by the number of queries, a line a task."""
    names = dict.fromkeys(row.partition(":")[0] for row in figures.rows)
    lines = {name: {_row(name, queries): float(queries) for queries in _numbers(figures, name)} for name in names}
    metrics = [metric for metric in figures.metrics if metric.startswith(tuple(METRIC.values()))]
    return plots.curves(figures, lines, metrics, "queries")

"""Beyond the paper: how queries say a box, by Q-CTC or by position."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.scales import METRIC
from narvl.tables.table import Entry, compare, quality

TITLE = "Beyond the paper: Q-CTC or position-wise cross-entropy for boxes"
SEEDS = 1
NOTE = (
    "The paper trains five queries by Q-CTC, which cannot say equal neighbouring coordinates; nine leave room for the "
    "blank between them. By position, query i says coordinate i, decoded greedily or to the most probable box."
)

_ROWS = ("Q-CTC, 5 queries", "Q-CTC, 9 queries", "by position, greedy", "by position, most probable box")
_CTC = ("--alignment", "ctc", "--criterion", "query_ctc")


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a way to say a box."""
    dataset = runs.scale.dataset("grounding")
    found = []
    for seed in seeds:
        five = runs.student(dataset, seed, "narvl-ctc", _CTC)
        nine = runs.student(dataset, seed, "narvl-ctc9", (*_CTC, "--num-queries", "9"))
        position = runs.student(dataset, seed)
        found += [
            quality(runs, _ROWS[0], five),
            quality(runs, _ROWS[1], nine),
            quality(runs, _ROWS[2], position, None, "greedy", ("--box-decoding", "greedy")),
            quality(runs, _ROWS[3], position),
        ]
    return found


def claims(figures: Figures) -> list[str]:
    """Compare the ways with the paper's."""
    metric = next((metric for metric in figures.metrics if metric.startswith(METRIC["grounding"])), "")
    first, *others = _ROWS
    return [compare(f"{row} is above {first}", figures, metric, row, first) for row in others]


def draw(figures: Figures) -> plots.Drawing:
    """Draw accuracy by row."""
    return plots.bars(figures, [metric for metric in figures.metrics if metric.startswith(METRIC["grounding"])])

"""Tables 6 and 7: the decoder reads the encoder's embedded input, or learnable queries."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.scales import METRIC
from narvl.tables.table import Entry, compare, pace, quality, speed

TITLE = "Tables 6 and 7: what the decoder reads"
SEEDS = 1
NOTE = "All by Q-CTC, as in the paper."

_CTC = ("--alignment", "ctc", "--criterion", "query_ctc")
_INPUTS = {"encoder": ("--decoder-input", "encoder"), "queries": ()}


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare both inputs, for boxes and captions."""
    found = []
    for task in ("grounding", "captioning"):
        dataset = runs.scale.dataset(task)
        flags = _CTC if task == "grounding" else ()
        first = {}
        for name, more in _INPUTS.items():
            run = "narvl-ctc" if task == "grounding" else "narvl"
            run = f"{run}-encoder-input" if more else run
            models = [runs.student(dataset, seed, run, (*flags, *more)) for seed in seeds]
            first[name] = models[0]
            published = paper.DECODER_INPUT[name][dataset.paper]
            found += [quality(runs, f"{dataset.name}: {name}", model, published) for model in models]
        rows = {
            (name, "parallel"): (f"{dataset.name}: {name}", paper.DECODER_INPUT[name][dataset.paper])
            for name in _INPUTS
        }
        pairs = {f"{dataset.name}: queries": f"{dataset.name}: encoder"}
        found += speed(runs.timed(f"{dataset.name}-decoder-input", first), rows, pairs)
    return found


def claims(figures: Figures) -> list[str]:
    """Compare queries with the encoder's input."""
    said = []
    for name in dict.fromkeys(row.partition(":")[0] for row in figures.rows):
        encoder, queries = f"{name}: encoder", f"{name}: queries"
        metrics = [metric for metric in figures.metrics if metric.startswith(tuple(METRIC.values()))]
        metric = next((metric for metric in metrics if figures.of(queries, metric)), None)
        if metric is not None:
            said.append(compare(f"{name}: queries are above the input", figures, metric, queries, encoder))
        said += pace(figures, queries, encoder, f"{name}: with queries a pass takes", "the time", longer=True)
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw quality by row."""
    return plots.bars(figures, [metric for metric in figures.metrics if metric.startswith(tuple(METRIC.values()))])

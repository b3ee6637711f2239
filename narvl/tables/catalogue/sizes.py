"""Figure 5: accuracy against latency over sizes, grounding."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.scales import METRIC
from narvl.tables.table import Entry, compare, pace, quality, speed

TITLE = "Figure 5: accuracy against latency over sizes, grounding"
SEEDS = 1
NOTE = "AR is beam search by fairseq, beam 5; ms are medians an image at batch size 1."

NAMES = {"ofa": "AR", "narvl": "NAR"}


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare both models of every size."""
    dataset = runs.scale.dataset("grounding")
    found, first, rows = [], {}, {}
    for size in runs.scale.sizes:
        for family, name in NAMES.items():
            published = paper.SIZES[family].get(size, {})
            row = f"{name} {size}"
            models = [
                runs.teacher(dataset, seed, size) if family == "ofa" else runs.student(dataset, seed, size=size)
                for seed in seeds
            ]
            first[row] = models[0]
            rows[row, "AR beam 5, fairseq" if family == "ofa" else "parallel"] = (row, published)
            found += [quality(runs, row, model, published) for model in models]
    pairs = {f"NAR {size}": f"AR {size}" for size in runs.scale.sizes}
    return [*found, *speed(runs.timed("sizes", first), rows, pairs)]


def claims(figures: Figures) -> list[str]:
    """At every size NAR is as good, and faster."""
    said = []
    for size in dict.fromkeys(row.partition(" ")[2] for row in figures.rows):
        said.append(compare(f"{size}: NAR is above AR", figures, _metric(figures), f"NAR {size}", f"AR {size}"))
        said += pace(figures, f"NAR {size}", f"AR {size}", f"{size}: NAR is", "as fast")
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw accuracy against latency, a line a model."""
    return plots.against(figures, "ms", _metric(figures), {name: f"{name} " for name in NAMES.values()})


def _metric(figures: Figures) -> str:
    return next((metric for metric in figures.metrics if metric.startswith(METRIC["grounding"])), "")

"""Figure 5: accuracy against latency over sizes, grounding."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, differences, quality, speed, verdict

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
    return [*found, *speed(runs.timed("sizes", first), rows)]


def claims(figures: Figures) -> list[str]:
    """At every size NAR is as good, and faster."""
    said = []
    for size in dict.fromkeys(row.partition(" ")[2] for row in figures.rows):
        metric = next((metric for metric in figures.metrics if metric != "ms"), "")
        found = differences(figures, metric, f"NAR {size}", f"AR {size}")
        said.append(verdict(f"{size}: NAR is above AR", found, metric))
        times = [figures.mean(f"{name} {size}", "ms") for name in ("AR", "NAR")]
        if times[0] and times[1]:
            said.append(f"{size}: NAR is {times[0] / times[1]:.1f}x as fast.")
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw accuracy against latency, a line a model."""
    metric = next((metric for metric in figures.metrics if metric != "ms"), "")
    return plots.against(figures, "ms", metric, {name: f"{name} " for name in NAMES.values()})

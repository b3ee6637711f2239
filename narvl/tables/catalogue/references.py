"""Beyond the paper: Q-CTC over all references at once, beside one of them, and beside a teacher's texts."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.runs import DISTILLED, Runs
from narvl.tables.scales import METRIC
from narvl.tables.table import Entry, differences, quality, verdict

TITLE = "Beyond the paper: all references at once, without a teacher"
SEEDS = 3
NOTE = (
    "This project's own loss (docs/references.md). All start from the same weights: on scenes the autoregressive "
    "model's, at the paper's scale OFA's. T is the temperature; at 100 the loss is nearly the mean over references."
)

#: To each way of learning from people's texts the name of its run, its flags, and whether it sees all references.
_WAYS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "one reference": ("narvl-undistilled", (), False),
    "all, mean": ("narvl-references-mean", ("--reference-temperature", "100"), True),
    "all, marginal": ("narvl-references", (), True),
    "all, T = 0.1": ("narvl-references-hard", ("--reference-temperature", "0.1"), True),
}
#: Share of the distilled model's figure that counts as closing the gap.
_ENOUGH = 0.95


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a way of learning, and the autoregressive one."""
    found = []
    for task in DISTILLED:
        dataset = runs.scale.dataset(task)
        for seed in seeds:
            models = {
                way: runs.student(dataset, seed, name, flags, distil=False, all_references=every)
                for way, (name, flags, every) in _WAYS.items()
            }
            models |= {"distilled": runs.student(dataset, seed), "AR": runs.teacher(dataset, seed)}
            found += [quality(runs, f"{dataset.name}: {way}", model) for way, model in models.items()]
    return found


def claims(figures: Figures) -> list[str]:
    """Compare the marginal with one reference, and with distillation."""
    said = []
    for name in dict.fromkeys(row.partition(":")[0] for row in figures.rows):
        ours, plain, distilled = (f"{name}: {way}" for way in ("all, marginal", "one reference", "distilled"))
        for metric in _metrics(figures):
            if not figures.of(ours, metric):
                continue
            found = differences(figures, metric, ours, plain)
            said.append(verdict(f"{name}: all references are above one", found, metric))
            theirs = figures.values(distilled, metric)
            above = [value - _ENOUGH * theirs[seed] for seed, value in figures.values(ours, metric).items()]
            said.append(verdict(f"{name}: all references reach {_ENOUGH:.0%} of distillation", above, metric))
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw quality by row."""
    return plots.bars(figures, _metrics(figures))


def _metrics(figures: Figures) -> list[str]:
    return [metric for metric in figures.metrics if metric.startswith((*METRIC.values(), "faithful"))]

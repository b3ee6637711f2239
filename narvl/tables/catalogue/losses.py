"""Table 8 and beyond: cross-entropy by position, plain CTC on the encoder's input, Q-CTC; captions, no distillation."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, compare, quality

TITLE = "Table 8: the loss, captions without distillation"
SEEDS = 3
NOTE = (
    "Targets are the data set's own captions. Plain CTC, which the paper leaves out, reads no queries but the "
    "encoder's embedded input, as in CTC models of speech and translation."
)

#: To each loss the name of its run, and the flags.
LOSSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cross-entropy": ("narvl-undistilled-ce", ("--alignment", "position", "--criterion", "query_cross_entropy")),
    "plain CTC": ("narvl-undistilled-encoder-input", ("--decoder-input", "encoder")),
    "Q-CTC": ("narvl-undistilled", ()),
}


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a loss."""
    dataset = runs.scale.dataset("captioning")
    return [
        quality(runs, name, runs.student(dataset, seed, run, flags, distil=False), paper.LOSS.get(name))
        for name, (run, flags) in LOSSES.items()
        for seed in seeds
    ]


def claims(figures: Figures) -> list[str]:
    """Compare Q-CTC with the others."""
    return [
        compare(f"Q-CTC is above {other}", figures, "CIDEr", "Q-CTC", other) for other in ("cross-entropy", "plain CTC")
    ]


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr and, on scenes, truth."""
    return plots.bars(figures, [metric for metric in ("CIDEr", "faithful") if metric in figures.metrics])

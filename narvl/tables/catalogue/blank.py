"""Beyond the paper: the blank trained or frozen, where the token table is frozen; captions."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, compare, quality

TITLE = "Beyond the paper: the blank trained or frozen, captions"
SEEDS = 1
NOTE = "With `--freeze-embedding`, as the paper fine-tunes captions and answers; the released code froze the blank too."

_BLANKS = {
    "trained": ("narvl-frozen-table", ("--freeze-embedding",)),
    "frozen": ("narvl-frozen-blank", ("--freeze-embedding", "--user-dir", "benchmarks/blank_plugin")),
}


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare both."""
    dataset = runs.scale.dataset("captioning")
    return [
        quality(runs, f"blank {name}", runs.student(dataset, seed, run, flags))
        for name, (run, flags) in _BLANKS.items()
        for seed in seeds
    ]


def claims(figures: Figures) -> list[str]:
    """Compare trained with frozen."""
    return [compare("A trained blank is above a frozen one", figures, "CIDEr", "blank trained", "blank frozen")]


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr by row."""
    return plots.bars(figures, ["CIDEr"])

"""Tables 2 to 5: the parallel model at the largest size, on every task."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, quality, speed

TITLE = "Tables 2 to 5: the parallel model at the largest size"
SEEDS = 1
NOTE = (
    "The paper's largest size is huge. On scenes wide, the largest, trains by nano's recipe, learning rate included, "
    "at which its autoregressive captioner learns little; nor does what starts from it: captions and answers."
)


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare the largest model of every data set."""
    found = []
    for dataset in runs.scale.datasets:
        published = paper.TABLES_2_TO_5[dataset.paper]
        models = [runs.student(dataset, seed, size=runs.scale.large) for seed in seeds]
        found += [quality(runs, dataset.name, model, published) for model in models]
        timed = runs.timed(f"{dataset.name}-largest", {"NAR": models[0]})
        found += speed(timed, {("NAR", "parallel"): (dataset.name, published)})
    return found


def claims(figures: Figures) -> list[str]:
    """Say nothing: figure 5 compares sizes."""
    return []


def draw(figures: Figures) -> None:
    """Draw nothing: figure 5 does."""

"""Table 9: distillation off and on, captions and answers."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.scales import METRIC
from narvl.tables.table import Entry, compare, differences, quality, verdict

TITLE = "Table 9: distillation off and on"
SEEDS = 3
NOTE = (
    "Off trains on the data set's own texts, on trains on the teacher's. On scenes both start from the teacher's "
    "weights; at the paper's scale off starts from OFA's, on from the teacher's: there it gains by its start as well."
)


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare both, for captions and answers."""
    found = []
    for task in ("captioning", "vqa"):
        dataset = runs.scale.dataset(task)
        for seed in seeds:
            off = runs.student(dataset, seed, "narvl-undistilled", distil=False)
            for name, model in (("off", off), ("on", runs.student(dataset, seed))):
                published = paper.DISTILLATION[name][dataset.paper]
                found.append(quality(runs, f"{dataset.name}: {name}", model, published))
    return found


def claims(figures: Figures) -> list[str]:
    """Compare on with off; captions gain more."""
    said, gains = [], {}
    for name in dict.fromkeys(row.partition(":")[0] for row in figures.rows):
        metrics = [metric for metric in figures.metrics if metric.startswith(tuple(METRIC.values()))]
        metric = next((metric for metric in metrics if figures.of(f"{name}: on", metric)), None)
        if metric is not None:
            gains[name] = differences(figures, metric, f"{name}: on", f"{name}: off")
            claim = f"{name}: distillation lifts Q-CTC"
            said.append(compare(claim, figures, metric, f"{name}: on", f"{name}: off"))
    if len(gains) == 2 and all(gains.values()):
        captions, answers = gains.values()
        more = {seed: captions[seed] - answers[seed] for seed in captions if seed in answers}
        shared = captions.keys() != answers.keys()
        said.append(verdict("Distillation lifts captions more than answers", more, "points", shared=shared))
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw quality by row."""
    return plots.bars(figures, [metric for metric in figures.metrics if metric.startswith(tuple(METRIC.values()))])

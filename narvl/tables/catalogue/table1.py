"""Table 1: the autoregressive model and the parallel one, on every task, quality and speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from narvl.prepare.answers import CANDIDATES
from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.job import word
from narvl.tables.runs import Runs, Trained
from narvl.tables.scales import METRIC, Dataset
from narvl.tables.table import Entry, compare, margin, pace, paper_margin, quality, speed

TITLE = "Table 1: autoregressive and parallel, four tasks"
SEEDS = 3
NOTE = (
    "AR is beam search with beam 5, NAR one greedy pass; ms are medians an image at batch size 1, AR's by fairseq's "
    "search. AR, all candidates scores every answer of a list instead: thousands in the paper, on scenes a few dozen, "
    "which take no longer than a search. Models that start from a pretrained one start from the same, whatever their "
    "seed."
)

NAMES = {"ofa": "AR", "narvl": "NAR"}
ALL = "AR, all candidates"


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare both models of every data set."""
    found = []
    for dataset in runs.scale.datasets:
        published = {family: paper.TABLE_1[family][dataset.paper] for family in NAMES}
        first: dict[str, Trained] = {}
        for seed in seeds:
            models = {"ofa": runs.teacher(dataset, seed), "narvl": runs.student(dataset, seed)}
            first = first or {NAMES[family]: model for family, model in models.items()}
            for family, model in models.items():
                found.append(quality(runs, f"{dataset.name} {NAMES[family]}", model, published[family]))
        rows = {
            ("AR", "AR beam 5, fairseq"): (f"{dataset.name} AR", published["ofa"]),
            ("NAR", "parallel"): (f"{dataset.name} NAR", published["narvl"]),
        }
        pairs = {f"{dataset.name} NAR": f"{dataset.name} AR"}
        found += speed(runs.timed(f"{dataset.name}-table1", first), rows, pairs)
        if dataset.task == "vqa":
            found += _all_candidates(runs, dataset, seeds, first)
    return found


def _all_candidates(runs: Runs, dataset: Dataset, seeds: Sequence[int], first: Mapping[str, Trained]) -> list[Entry]:
    """Declare the autoregressive model that scores every answer of the data set's list."""
    row, published = f"{dataset.name} {ALL}", paper.ALL_CANDIDATES[dataset.paper]
    answers = ("--candidates", word(runs.data(dataset)[0] / CANDIDATES))
    flags = (*answers, "--candidate-search", "all")
    found = [quality(runs, row, runs.teacher(dataset, seed), published, "all-candidates", flags) for seed in seeds]
    timed = runs.timed(f"{dataset.name}-all-candidates", first, answers)
    return [*found, *speed(timed, {("AR", "AR all candidates"): (row, published)})]


def claims(figures: Figures) -> list[str]:
    """Compare NAR with AR: the paper claims more where its own figure is higher, and elsewhere a margin."""
    said = []
    for name in dict.fromkeys(row.partition(" ")[0] for row in figures.rows):
        ar, nar = f"{name} AR", f"{name} NAR"
        metric = next((metric for metric in figures.metrics if _headline(metric) and figures.of(nar, metric)), None)
        if metric is None:
            continue
        paper_says = paper_margin(figures, metric, nar, ar)
        if paper_says is not None and paper_says > 0:
            claim = f"{name}: NAR is at or above AR (the paper {paper_says:+.1f})"
            said.append(compare(claim, figures, metric, nar, ar))
        else:
            said.append(margin(f"{name}: NAR less AR", figures, metric, nar, ar))
        said += pace(figures, nar, ar, f"{name}: NAR is", "as fast")
    return said


def _headline(metric: str) -> bool:
    return metric.startswith(tuple(METRIC.values()))


def draw(figures: Figures) -> plots.Drawing:
    """Draw quality by row, a panel a metric, and time; all candidates take too long for the same axis."""
    figures = Figures(figure for figure in figures.all if not figure.row.endswith(ALL))
    return plots.bars(figures, [*(metric for metric in figures.metrics if _headline(metric)), "ms"])

"""What a table is: the runs behind its rows, what is read from them, and what the paper claims of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from narvl.evaluation.latency import spread
from narvl.tables.figures import QUARTILES, Figures
from narvl.tables.job import Job
from narvl.tables.plots import Drawing
from narvl.tables.runs import Decoded, Runs, Timed, Trained
from narvl.tables.scales import METRIC

Values = Mapping[str, float | str]

#: Metrics of captions, as ``narvl score captioning`` calls them.
CAPTION_METRICS = ("BLEU-4", "METEOR", "CIDEr", "SPICE")

#: How many times as fast a row is as the one that it was timed beside.
TIMES = "times as fast"

_TIMES = (TIMES, *(TIMES + quartile for quartile in QUARTILES))

#: How titles begin of tables that the paper does not have.
BEYOND = "Beyond the paper"

#: When ``verdict`` says which word.
RULE = (
    "*Held*: the mean difference is larger than the standard deviation of the seeds' differences; *did not hold*: it "
    "is as far below 0. One seed has no spread: what it showed is told, and decides nothing."
)


@dataclass(frozen=True)
class Entry:
    """What one run, or one measurement, adds to a row.

    Attributes:
        row: the row's name.
        jobs: those it is read from, the one that it is named after first.
        read: reads the values, by metric, once the jobs have ended.
        paper: the paper's values, by metric.
    """

    row: str
    jobs: tuple[Job, ...]
    read: Callable[[], Values]
    paper: Mapping[str, float] = field(default_factory=dict)


class Table(Protocol):
    """A module of ``narvl.tables.catalogue``."""

    #: What it shows.
    TITLE: str
    #: Trainings of each kind, unless the user says another number.
    SEEDS: int
    #: What a reader must know beside it.
    NOTE: str

    def entries(self, runs: Runs, seeds: Sequence[int]) -> list[Entry]:
        """Declare the runs, and return what is read from them."""

    def claims(self, figures: Figures) -> list[str]:
        """Say of each claim of the paper whether it holds."""

    def draw(self, figures: Figures) -> Drawing | None:
        """Draw the figures; None where there is nothing to draw."""


def quality(
    runs: Runs,
    row: str,
    model: Trained,
    paper: Mapping[str, float] | None = None,
    name: str = "",
    flags: tuple[str, ...] = (),
) -> Entry:
    """Decode and score every split of a model's data set.

    Args:
        runs: where jobs are added.
        row: the row's name.
        model: what decodes.
        paper: the paper's values.
        name: of the way to decode, for a variation.
        flags: of the variation.
    """
    decoded = [runs.decoded(model, split, name, flags) for split in model.dataset.splits]

    def read() -> Values:
        values: dict[str, float | str] = {}
        for part in decoded:
            values |= {runs.scale.metric(part.dataset, key, part.split): value for key, value in scores(part).items()}
        return values

    return Entry(row, (model.job, *(part.job for part in decoded)), read, paper or {})


def scores(decoded: Decoded) -> dict[str, float]:
    """Read a split's scores, times 100; none where it has no targets."""
    record = decoded.scores()
    if record is None:
        return {}
    if decoded.dataset.task != "captioning":
        return {METRIC[decoded.dataset.task]: 100 * record["accuracy"]}
    measured = {metric: record["metrics"].get(metric) for metric in CAPTION_METRICS}
    found = {metric: 100 * value for metric, value in measured.items() if value is not None}
    if record["faithfulness"] is not None:
        found["faithful"] = 100 * record["faithfulness"]["faithful"]
    return found


def speed(
    timed: Timed,
    rows: Mapping[tuple[str, str], tuple[str, Mapping[str, float]]],
    pairs: Mapping[str, str] | None = None,
) -> list[Entry]:
    """Read latencies.

    Args:
        timed: the measurement.
        rows: to the name of a run and the start of its way to decode: the table's row, and the paper's values.
        pairs: to the rows whose speed is compared, the row that it is compared with.
    """
    pairs = pairs or {}
    keys = {row: key for key, (row, _) in rows.items()}
    papers = dict(rows.values())

    def reader(row: str) -> Callable[[], Values]:
        def read() -> Values:
            own = timed.row(*keys[row])
            values = {"ms": own["median_ms"]}
            return values | paired(timed.row(*keys[pairs[row]]), own) if row in pairs else values

        return read

    def paper_of(row: str) -> Mapping[str, float]:
        times = [papers[name].get("ms") for name in (pairs.get(row, row), row)]
        return {**papers[row], TIMES: times[0] / times[1]} if times[0] and times[1] else papers[row]

    return [Entry(row, (timed.job,), reader(row), paper_of(row)) for row in keys]


def paired(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, float]:
    """Compare what was timed in the same rounds: the median over rounds of the ratio of the times, and its quartiles.

    Nothing where a file written before rounds were kept compares with another row.
    """
    if "rounds_ms" in own:
        found = spread(np.array(base["rounds_ms"]) / np.array(own["rounds_ms"]))
        names = ("median", "q1", "q3")
    elif base["speedup"] == base["speedup_q1"] == base["speedup_q3"] == 1:  # the row that the file compares with
        found, names = dict(own), ("speedup", "speedup_q1", "speedup_q3")
    else:
        return {}
    return {metric: found[name] for metric, name in zip(_TIMES, names, strict=True)}


def pace(figures: Figures, row: str, other: str, start: str, end: str, longer: bool = False) -> list[str]:
    """Say how many times as fast a row is as another, ``start`` and ``end`` around it; nothing where none was timed.

    Args:
        figures: the values.
        row: what is compared.
        other: with what.
        start: of the sentence.
        end: of the sentence.
        longer: say how many times as long it takes instead.
    """
    times = [figures.mean(name, "ms") for name in (other, row)]
    if not times[0] or not times[1]:
        return []
    found = [figures.mean(row, metric) for metric in _TIMES]
    papers = [figures.paper(name, "ms") for name in (other, row)]
    paper = papers[0] / papers[1] if papers[0] and papers[1] else None
    ratios = [ratio for ratio in found if ratio] if all(found) else [times[0] / times[1]]
    if longer:
        ratios, paper = [1 / ratio for ratio in ratios], 1 / paper if paper else None
    places = 1 if ratios[0] >= 2 else 2
    notes = "the ratio of the medians"
    if len(ratios) > 1:
        low, high = sorted(ratios[1:])
        notes = f"quartiles {low:.{places}f} to {high:.{places}f}"
    notes += f"; the paper: {paper:.{places}f}x" if paper else ""
    return [f"{start} {ratios[0]:.{places}f}x {end} ({notes})."]


def differences(figures: Figures, metric: str, row: str, other: str) -> dict[str, float]:
    """Return a row's values less another's, by seed, of the seeds that both have."""
    ours, theirs = figures.values(row, metric), figures.values(other, metric)
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


def uneven(figures: Figures, metric: str, row: str, other: str) -> bool:
    """Tell whether one of two rows has seeds that the other lacks."""
    return figures.values(row, metric).keys() != figures.values(other, metric).keys()


def compare(claim: str, figures: Figures, metric: str, row: str, other: str) -> str:
    """Say whether a row is above another.

    Args:
        claim: that it is.
        figures: the values.
        metric: what is compared.
        row: what shall be above.
        other: the row below.
    """
    found = differences(figures, metric, row, other)
    return verdict(claim, found, metric, shared=uneven(figures, metric, row, other))


def verdict(claim: str, found: Mapping[str, float], unit: str, amount: str = "", shared: bool = False) -> str:
    """Say whether a claim holds, by ``RULE``; one seed has no spread to be held against.

    Args:
        claim: that a difference is above 0.
        found: the difference, by seed.
        unit: of the difference.
        amount: what is said in place of the mean difference.
        shared: whether these are but the seeds that both sides have.
    """
    if not found:
        return f"{claim}: not run."
    mean = statistics.fmean(found.values())
    amount = amount or f"{mean:+.1f} {unit}"
    if len(found) == 1:
        held = "so" if mean > 0 else "not so" if mean < 0 else "no difference"
        which = f"both have ({amount} of seed {next(iter(found))})" if shared else f"was run ({amount})"
        return f"{claim}: {held} in the one seed that {which}."
    apart = statistics.stdev(found.values())
    held = "held" if mean > apart else "did not hold" if mean < -apart else "within the seeds' spread, so undecided"
    if mean == apart == 0:
        held = "no difference"
    return f"{claim}: {held} ({amount}, {_over_seeds(found, shared)})."


def margin(name: str, figures: Figures, metric: str, row: str, other: str) -> str:
    """Say how far a row is above another, beside the paper's margin, where the paper claims no direction."""
    found = differences(figures, metric, row, other)
    shared = uneven(figures, metric, row, other)
    theirs = paper_margin(figures, metric, row, other)
    beside = "" if theirs is None else f"the paper {theirs:+.1f} {metric}, "
    if not found:
        return f"{name}: {beside}ours not run."
    ours = f"ours {statistics.fmean(found.values()):+.1f}{'' if beside else f' {metric}'}"
    if len(found) == 1:
        return f"{name}: {beside}{ours} ({f'seed {next(iter(found))}' if shared else 'one seed'})."
    return f"{name}: {beside}{ours} ({_over_seeds(found, shared)})."


def paper_margin(figures: Figures, metric: str, row: str, other: str) -> float | None:
    """Return the paper's value of a row less that of another; None where it lacks one."""
    ours, theirs = figures.paper(row, metric), figures.paper(other, metric)
    return None if ours is None or theirs is None else ours - theirs


def _over_seeds(found: Mapping[str, float], shared: bool) -> str:
    seeds = f"seeds {', '.join(found)}" if shared else f"{len(found)} seeds"
    return f"{seeds}, whose differences spread by {statistics.stdev(found.values()):.1f}"

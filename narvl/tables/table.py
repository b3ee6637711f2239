"""What a table is: the runs behind its rows, what is read from them, and what the paper claims of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from narvl.tables.figures import Figures
from narvl.tables.job import Job
from narvl.tables.plots import Drawing
from narvl.tables.runs import Decoded, Runs, Timed, Trained
from narvl.tables.scales import METRIC

Values = Mapping[str, float | str]

#: Metrics of captions, as ``narvl score captioning`` calls them.
CAPTION_METRICS = ("BLEU-4", "METEOR", "CIDEr", "SPICE")


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


def speed(timed: Timed, rows: Mapping[tuple[str, str], tuple[str, Mapping[str, float]]]) -> list[Entry]:
    """Read latencies.

    Args:
        timed: the measurement.
        rows: to the name of a run and the start of its way to decode: the table's row, and the paper's values.
    """

    def reader(name: str, decoding: str) -> Callable[[], Values]:
        def read() -> Values:
            found = next(
                row for row in timed.rows() if row["name"] == name and str(row["decoding"]).startswith(decoding)
            )
            return {"ms": found["median_ms"]}

        return read

    return [Entry(row, (timed.job,), reader(*key), paper) for key, (row, paper) in rows.items()]


def differences(figures: Figures, metric: str, row: str, other: str) -> list[float]:
    """Return a row's values less another's, of the seeds that both have."""
    ours, theirs = figures.values(row, metric), figures.values(other, metric)
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def verdict(claim: str, found: Sequence[float], unit: str) -> str:
    """Say whether a claim holds, by how much against the spread of seeds; one seed has none to be held against.

    Args:
        claim: that a difference is above 0.
        found: the difference, of each seed.
        unit: of the difference.
    """
    if not found:
        return f"{claim}: not run."
    mean = statistics.fmean(found)
    if len(found) == 1:
        held = "so" if mean > 0 else "not so" if mean < 0 else "no difference"
        return f"{claim}: {held} in the one seed that was run ({mean:+.1f} {unit})."
    spread = statistics.stdev(found)
    held = "held" if mean > spread else "did not hold" if mean < -spread else "within the seeds' spread, so undecided"
    if mean == spread == 0:
        held = "no difference"
    return f"{claim}: {held} ({mean:+.1f} {unit}, {len(found)} seeds, whose differences spread by {spread:.1f})."

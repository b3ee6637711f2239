"""Figures of a table: values with where they come from, kept as CSV, one value a line."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from narvl.errors import DataError


@dataclass(frozen=True)
class Figure:
    """One value.

    Attributes:
        row: what it is of.
        metric: what was measured, with its unit where it has one.
        paper: the paper's value, as text; empty where it has none.
        ours: the value, as text.
        difference: ours less the paper's, as text; empty where one of them is no number.
        seed: of the run; empty where no random numbers were drawn.
        commit: of this repository, with a ``+`` where files differed from it; all, where several have run the jobs.
        machine: processor, cores, accelerator; all, where there were several.
        minutes: how long the runs behind it took.
        date: when the last of them ended (UTC).
        command: all that was run, in order; RUNS is the folder of all runs.
    """

    row: str
    metric: str
    paper: str
    ours: str
    difference: str
    seed: str
    commit: str
    machine: str
    minutes: str
    date: str
    command: str


#: What follows a metric's name where a value is a quartile around it.
QUARTILES = (", lower quartile", ", upper quartile")

_BETWEEN = "; "
_COLUMNS = [field.name for field in fields(Figure)]


class Figures:
    """All figures of a table, in order.

    Args:
        figures: the values.
    """

    def __init__(self, figures: Iterable[Figure]) -> None:
        self.all = list(figures)

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in order."""
        return list(dict.fromkeys(figure.row for figure in self.all))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in order."""
        return list(dict.fromkeys(figure.metric for figure in self.all))

    def of(self, row: str, metric: str) -> list[Figure]:
        """Return a row's figures of a metric, one a seed."""
        return [figure for figure in self.all if (figure.row, figure.metric) == (row, metric)]

    def values(self, row: str, metric: str) -> dict[str, float]:
        """Return a row's values of a metric by seed."""
        return {figure.seed: float(figure.ours) for figure in self.of(row, metric)}

    def paper(self, row: str, metric: str) -> float | None:
        """Return the paper's value of a row; None where it has none."""
        return next((float(figure.paper) for figure in self.of(row, metric) if figure.paper), None)

    def mean(self, row: str, metric: str) -> float | None:
        """Return the mean over seeds; None without a run."""
        values = self.values(row, metric).values()
        return statistics.fmean(values) if values else None

    def spread(self, row: str, metric: str) -> float | None:
        """Return the standard deviation over seeds; None below two runs."""
        values = list(self.values(row, metric).values())
        return statistics.stdev(values) if len(values) > 1 else None

    def text(self) -> str:
        """Return the CSV."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(figure) for figure in self.all)
        return buffer.getvalue()


def read_figures(path: Path) -> Figures:
    """Read a table's figures; none where there is no file.

    Raises:
        DataError: the file's columns are not those of a table.
    """
    if not path.is_file():
        return Figures([])
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != _COLUMNS:
            raise DataError(
                f"{path}: its columns are {reader.fieldnames}, expected {_COLUMNS}. Write it by `narvl tables`."
            )
        return Figures(Figure(**row) for row in reader)


def join(texts: Iterable[str]) -> str:
    """Join what produced a figure, each once."""
    return _BETWEEN.join(dict.fromkeys(texts))


def separate(text: str) -> list[str]:
    """Return what ``join`` joined."""
    return text.split(_BETWEEN)


def format_value(value: float | str) -> str:
    """Write a value for the CSV: text as it is, numbers to four significant places or two decimals."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def difference(ours: float | str, paper: float | None) -> str:
    """Write ours less the paper's; empty where one of them is no number."""
    return "" if paper is None or isinstance(ours, str) else f"{ours - paper:+.2f}"


def mean_text(values: Sequence[float]) -> str:
    """Write the mean over seeds, and its standard deviation where there are several: below 1 to three places."""
    mean = statistics.fmean(values)
    places = 3 if 0 < abs(mean) < 1 else 1
    return f"{mean:.{places}f}" + (f" ± {statistics.stdev(values):.{places}f}" if len(values) > 1 else "")

"""Draws tables, legible in print and in a README; colours keep their distance for colour-blind readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from narvl.tables.figures import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#f0e442")
_MARKERS = "os^Dv<>P"
#: Panels beside each other.
_COLUMNS = 3
#: From this ratio of the largest to the smallest on, an axis is logarithmic.
_FAR = 30
#: How every plot of the project looks.
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "legend.frameon": False,
    "svg.hashsalt": "narvl",  # the same figures give the same file
}


class Drawing(Protocol):
    """What matplotlib has drawn: its ``Figure``."""

    def savefig(self, path: Path, **options: Any) -> None:
        """Write it."""


def save(drawing: Drawing, path: Path) -> None:
    """Write a drawing as SVG."""
    drawing.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def bars(figures: Figures, metrics: Sequence[str]) -> Drawing:
    """Draw each metric in a panel of its own: a bar a row, the seeds' spread on it, a mark for the paper's value.

    Neighbouring panels of the same rows name them once.
    """
    shown = [[row for row in figures.rows if figures.of(row, metric)][::-1] for metric in metrics]
    lines = [shown[start : start + _COLUMNS] for start in range(0, len(shown), _COLUMNS)]
    tallest = [max(1, *(len(rows) for rows in line)) for line in lines]
    axes, drawing = _panels(len(metrics), [0.7 + 0.3 * most for most in tallest])
    for panel, (axis, metric, rows) in enumerate(zip(axes, metrics, shown, strict=True)):
        most = tallest[panel // _COLUMNS]
        means = [figures.mean(row, metric) or 0.0 for row in rows]
        axis.barh(rows, means, xerr=[figures.spread(row, metric) or 0.0 for row in rows], color=_COLOURS[0], capsize=3)
        axis.set_ylim(len(rows) - most - 0.5, len(rows) - 0.5)  # bars are equally thick in all panels
        if panel % _COLUMNS and rows == shown[panel - 1]:
            axis.tick_params(labelleft=False)
        paper = {row: figures.of(row, metric)[0].paper for row in rows}
        known = [row for row in rows if paper[row]]
        axis.scatter([float(paper[row]) for row in known], known, marker="|", s=120, color=_COLOURS[1], zorder=3)
        axis.set_title(metric + (" (|: the paper's)" if known else ""))
        axis.grid(axis="y", visible=False)
    return drawing


def curves(figures: Figures, lines: Mapping[str, Mapping[str, float]], metrics: Sequence[str], x_label: str) -> Drawing:
    """Draw each metric in a panel: a line through rows.

    Args:
        figures: the values.
        lines: to each line's name its rows, and their places on the x axis.
        metrics: a panel each.
        x_label: what the x axis counts.
    """
    axes, drawing = _panels(len(metrics), [2.8] * math.ceil(len(metrics) / _COLUMNS))
    for axis, metric in zip(axes, metrics, strict=True):
        for number, (name, places) in enumerate(lines.items()):
            rows = [row for row in places if figures.of(row, metric)]
            if rows:
                _line(axis, figures, rows, [places[row] for row in rows], metric, name, number)
        axis.set(xlabel=x_label, ylabel=metric)
        _spread_out(axis, sorted({place for places in lines.values() for place in places.values()}))
        if all(lines):
            axis.legend(fontsize=8)
    return drawing


def against(figures: Figures, x_metric: str, y_metric: str, lines: Mapping[str, str]) -> Drawing:
    """Draw a metric against another: a line through the rows that begin alike.

    Args:
        figures: the values.
        x_metric: of the x axis.
        y_metric: of the y axis.
        lines: to each line's name the beginning of its rows' names; the rest of a name is written beside its point.
    """
    (axis,), drawing = _panels(1, [3.2])
    for number, (name, start) in enumerate(lines.items()):
        rows = [row for row in figures.rows if row.startswith(start) and figures.of(row, y_metric)]
        rows = [row for row in rows if figures.of(row, x_metric)]
        if not rows:
            continue
        places = [figures.mean(row, x_metric) or 0.0 for row in rows]
        _line(axis, figures, rows, places, y_metric, name, number)
        for row, place in zip(rows, places, strict=True):
            text = row.removeprefix(start)
            axis.annotate(text, (place, figures.mean(row, y_metric) or 0.0), (4, -11), textcoords="offset points")
    axis.set(xlabel=x_metric, ylabel=y_metric)
    axis.legend(fontsize=8)
    return drawing


def _line(
    axis: Axes, figures: Figures, rows: Sequence[str], places: Sequence[float], metric: str, name: str, number: int
) -> None:
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    means = [figures.mean(row, metric) or 0.0 for row in rows]
    spreads = [figures.spread(row, metric) or 0.0 for row in rows]
    axis.errorbar(places, means, yerr=spreads, color=colour, marker=marker, capsize=3, label=name or None)


def _spread_out(axis: Axes, places: Sequence[float]) -> None:
    """Tick where the points are, by their logarithms where they are of different orders of magnitude."""
    if len(places) > 1 and places[0] > 0 and places[-1] / places[0] > _FAR:
        axis.set_xscale("log")
        axis.minorticks_off()
    axis.set_xticks(places, [f"{place:g}" for place in places])


def _panels(count: int, heights: Sequence[float]) -> tuple[list[Axes], Drawing]:
    """Lay out panels, so many beside each other; heights are those of the lines of panels."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("svg")
    matplotlib.rcParams.update(STYLE)
    columns = max(1, min(count, _COLUMNS))
    drawing = pyplot.figure(figsize=(4.2 * columns, sum(heights)), layout="constrained")
    grid = drawing.add_gridspec(max(1, len(heights)), columns, height_ratios=list(heights) or None)
    axes = [drawing.add_subplot(grid[panel // columns, panel % columns]) for panel in range(max(1, count))]
    pyplot.close(drawing)
    return axes, drawing

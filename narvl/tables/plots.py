"""Draws tables, legible in print and in a README; colours keep their distance for colour-blind readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from narvl.tables.figures import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#f0e442")
_MARKERS = "os^Dv<>P"
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
    """Draw each metric in a panel of its own: a bar a row, the seeds' spread on it, a mark for the paper's value."""
    axes, drawing = _panels(len(metrics), height=0.7 + 0.3 * max(1, len(figures.rows)))
    for axis, metric in zip(axes, metrics, strict=True):
        rows = [row for row in figures.rows if figures.of(row, metric)][::-1]
        means = [figures.mean(row, metric) or 0.0 for row in rows]
        axis.barh(rows, means, xerr=[figures.spread(row, metric) or 0.0 for row in rows], color=_COLOURS[0], capsize=3)
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
    axes, drawing = _panels(len(metrics), height=2.8)
    for axis, metric in zip(axes, metrics, strict=True):
        for number, (name, places) in enumerate(lines.items()):
            rows = [row for row in places if figures.of(row, metric)]
            if rows:
                _line(axis, figures, rows, [places[row] for row in rows], metric, name, number)
        axis.set(xlabel=x_label, ylabel=metric)
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
    (axis,), drawing = _panels(1, height=3.2)
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


def _panels(count: int, height: float) -> tuple[list[Axes], Drawing]:
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("svg")
    matplotlib.rcParams.update(STYLE)
    drawing, axes = pyplot.subplots(1, max(1, count), figsize=(4.2 * max(1, count), height), squeeze=False)
    drawing.tight_layout(w_pad=3)
    pyplot.close(drawing)
    return list(axes[0]), drawing

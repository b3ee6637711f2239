"""Draws a results file as a picture beside it, so that plots can be drawn later and elsewhere."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narvl.tables.plots import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENCODER, _DECODER, _FLOOR = "#9aa5b1", "#2b6cb0", "#c53030"
_PALETTE = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#718096", "#b7791f")


def draw(kind: str, path: Path) -> None:
    """Draw a results file.

    Args:
        kind: which benchmark's.
        path: the file; the picture has its name, ending in ``.svg``.
    """
    cells = list(json.loads(path.read_text(encoding="utf-8"))["cells"].values()) if path.is_file() else []
    if not cells:
        return
    if importlib.util.find_spec("matplotlib") is None:
        sys.stderr.write(f"no plot: matplotlib is missing (run_scripts/setup.sh installs it). Figures: {path.name}\n")
        return
    import matplotlib

    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        figure = PLOTS[kind](cells)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None}, bbox_inches="tight")
    sys.stderr.write(f"plot: {path.with_suffix('.svg').name}\n")


def latency(cells: list[dict[str, Any]]) -> Figure:
    """Draw encoder and decoder at the smallest batch, a panel a task; and time by batch where there are several."""
    size, side = max((cell["size"], cell["side"]) for cell in cells if cell["size"] == _largest(cells))
    own = [cell for cell in cells if (cell["size"], cell["side"]) == (size, side)]
    smallest = min(cell["batch"] for cell in own)
    tasks = {cell["task"]: cell for cell in own if cell["batch"] == smallest}
    by_batch = _group(own, "task")
    several = {task: found for task, found in by_batch.items() if len(found) > 1}
    figure, axes = _panels(len(tasks) + len(several))
    for axis, (task, cell) in zip(axes, tasks.items(), strict=False):
        rows = cell["rows"][::-1]
        names = [row["decoding"] for row in rows]
        axis.barh(names, [row["encoder_ms"] for row in rows], color=_ENCODER, label="encoder")
        ends = [row["encoder_ms"] for row in rows]
        axis.barh(names, [row["decoder_ms"] for row in rows], left=ends, color=_DECODER, label="decoder")
        floors = [row["encoder_floor_ms"] + row["decoder_floor_ms"] for row in rows]
        axis.scatter(floors, names, marker="|", s=120, color=_FLOOR, zorder=3, label="floor")
        axis.set(title=f"{task}: {size}, {side} px, batch {smallest}", xlabel="ms")
        axis.grid(axis="y", visible=False)
    axes[0].legend(loc="lower right")
    for axis, (task, found) in zip(axes[len(tasks) :], several.items(), strict=True):
        _lines(axis, found, "batch", lambda row: row["decoding"], lambda row, cell: row["median_ms"] / cell["batch"])
        axis.set(title=f"{task}: {size}, {side} px", xlabel="batch", ylabel="ms a sample")
    if several:
        axes[-1].legend(fontsize=7)
    return figure


def loss(cells: list[dict[str, Any]]) -> Figure:
    """Draw time and memory by batch, a pair of panels a number of queries."""
    smoothing = max(cell["label_smoothing"] for cell in cells)
    groups = _group([cell for cell in cells if cell["label_smoothing"] == smoothing], "queries")
    figure, axes = _panels(2 * len(groups))
    for index, (queries, found) in enumerate(groups.items()):
        time, memory = axes[2 * index], axes[2 * index + 1]
        _lines(time, found, "batch", lambda row: row["loss"], lambda row, _: row["median_ms"])
        batches = [cell["batch"] for cell in found]
        time.plot(batches, [cell["floor_ms"] for cell in found], "--", color=_FLOOR, label="floor")
        _lines(memory, found, "batch", lambda row: row["loss"], lambda row, _: max(row["peak_bytes"] / 1e6, 0.1))
        memory.plot(batches, [cell["logits_bytes"] / 1e6 for cell in found], ":", color="black", label="the logits")
        time.set(title=f"forward and backward, N = {queries}", xlabel="batch", ylabel="ms")
        memory.set(title=f"peak memory beyond the logits, N = {queries}", xlabel="batch", ylabel="MB")
        time.legend(fontsize=7)
        memory.legend(fontsize=7)
    return figure


def training(cells: list[dict[str, Any]]) -> Figure:
    """Draw a step's parts and its peak memory, a bar a configuration and model."""
    rows = [
        (f"{cell['size']} {cell['side']} px, batch {cell['batch']}: {row['model']}", row)
        for cell in cells
        for row in cell["rows"]
    ]
    rows.reverse()
    names = [name for name, _ in rows]
    figure, axes = _panels(2, height=0.8 + 0.3 * len(rows))
    ends = [0.0] * len(rows)
    for part, colour in zip(rows[0][1]["parts_ms"], _PALETTE, strict=False):
        values = [row["parts_ms"][part]["median"] for _, row in rows]
        axes[0].barh(names, values, left=ends, color=colour, label=part)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    kept = [row["kept_bytes"] / 1e9 for _, row in rows]
    rest = [max(row["peak_bytes"] / 1e9 - known, 0.0) for (_, row), known in zip(rows, kept, strict=True)]
    axes[1].barh(names, kept, color=_ENCODER, label="weights, gradients, Adam")
    axes[1].barh(names, rest, left=kept, color=_DECODER, label="activations and the rest")
    axes[1].tick_params(labelleft=False)
    axes[0].set(title="training step", xlabel="ms")
    axes[1].set(title="peak memory", xlabel="GB")
    for axis in axes:
        axis.grid(axis="y", visible=False)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.5 / len(rows) - 0.15), ncols=3)
    return figure


def loading(cells: list[dict[str, Any]]) -> Figure:
    """Draw rows a second by workers."""
    figure, axes = _panels(1)
    for cell, colour in zip([cell for cell in cells if "photo" in cell], _PALETTE, strict=False):
        workers = [row["workers"] for row in cell["rows"]]
        rates = [row["rows_per_s"] for row in cell["rows"]]
        axes[0].plot(workers, [rate["median"] for rate in rates], "o-", color=colour, label=f"{cell['side']} px")
        low, high = ([rate[quartile] for rate in rates] for quartile in ("q1", "q3"))
        axes[0].fill_between(workers, low, high, color=colour, alpha=0.2, linewidth=0)
    axes[0].set(title="data loading", xlabel="workers", ylabel="rows a second", ylim=(0, None))
    axes[0].legend()
    return figure


def generation(cells: list[dict[str, Any]]) -> Figure:
    """Draw rows a second after the start, a panel a size."""
    figure, axes = _panels(len(cells))
    for axis, cell in zip(axes, cells, strict=True):
        rows = [row for row in cell["rows"][::-1] if row["rows_per_s_after_start"]]
        rates = [row["rows_per_s_after_start"]["median"] for row in rows]
        axis.barh([row["label"] for row in rows], rates, color=_DECODER)
        title = f"fairseq-generate: {cell['size']}, {cell['side']} px, batch {cell['batch']}"
        axis.set(title=title, xlabel="rows a second, after the start")
        axis.grid(axis="y", visible=False)
    return figure


PLOTS: dict[str, Callable[[list[dict[str, Any]]], Figure]] = {
    "latency": latency,
    "loss": loss,
    "training": training,
    "loading": loading,
    "generation": generation,
}


def _panels(count: int, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    """Make so many panels, two a row."""
    from matplotlib import pyplot

    columns = min(count, 2)
    lines = -(-count // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5.2 * columns, height * lines), squeeze=False)
    figure.set_layout_engine("constrained")
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.remove()
    return figure, flat[:count]


def _lines(
    axis: Axes,
    cells: Iterable[dict[str, Any]],
    x: str,
    name: Callable[[dict[str, Any]], str],
    y: Callable[[dict[str, Any], dict[str, Any]], float],
) -> None:
    """Draw a line for each name among the cells' rows, on logarithmic axes."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        for row in cell["rows"]:
            points[name(row)].append((cell[x], y(row, cell)))
    for (label, found), colour in zip(points.items(), _PALETTE * 2, strict=False):
        axis.plot(*zip(*sorted(found), strict=True), "o-", color=colour, label=label, markersize=3)
    ticks = sorted({cell[x] for cell in cells})
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")


def _group(cells: list[dict[str, Any]], key: str) -> dict[Any, list[dict[str, Any]]]:
    """Group cells by one of their values, each group by rising batch."""
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: cell["batch"]):
        groups[cell[key]].append(cell)
    return dict(groups)


def _largest(cells: list[dict[str, Any]]) -> str:
    """Return the largest size among the cells: the one whose decoders' work is largest."""
    return str(max(cells, key=lambda cell: cell["rows"][0]["gflops"] / cell["batch"])["size"])

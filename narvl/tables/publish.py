"""Writes what a table has so far: its CSV, its plot, and the page of all tables of the scale."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from narvl.errors import UsageError
from narvl.files import write_whole
from narvl.tables import plots, render
from narvl.tables.catalogue import TABLES
from narvl.tables.collect import collect
from narvl.tables.figures import Figures, read_figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry

logger = logging.getLogger(__name__)


def publish(name: str, entries: Sequence[Entry], runs: Runs, results: Path, docs: Path) -> Figures:
    """Write a table's files and the page.

    Figures of an earlier CSV stay where these runs have none for the same row, metric and seed.

    Args:
        name: of the table.
        entries: what is read.
        runs: that the entries are of.
        results: folder of CSV files and plots.
        docs: folder of the page.

    Raises:
        UsageError: a file cannot be written.
    """
    path = results / f"{name}.csv"
    figures = merge(read_figures(path), collect(entries, runs.folder), [entry.row for entry in entries])
    if not figures.all:
        return figures
    try:
        results.mkdir(parents=True, exist_ok=True)
        docs.mkdir(parents=True, exist_ok=True)
        # At once: the file may be the only place of figures from other machines.
        write_whole(path, figures.text())
        _draw(name, figures, results)
        page = docs / f"tables_{runs.scale.name}.md"
        write_whole(page, render.page(runs.scale.name, results, os.path.relpath(results, docs)))
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written ({error.strerror}). Give another folder.") from error
    return figures


def merge(old: Figures, new: Figures, rows: Sequence[str]) -> Figures:
    """Join figures; where both have one for the same row, metric and seed, the new one counts.

    Args:
        old: from the file.
        new: from the runs.
        rows: of the table, in order; old figures of other rows are dropped.
    """
    found = {(figure.row, figure.metric, figure.seed): figure for figure in (*old.all, *new.all)}
    order = {row: place for place, row in reversed(list(enumerate(rows)))}
    metrics = {metric: place for place, metric in enumerate(dict.fromkeys((*new.metrics, *old.metrics)))}
    kept = [figure for figure in found.values() if figure.row in order]
    return Figures(sorted(kept, key=lambda figure: (order[figure.row], metrics[figure.metric], figure.seed)))


def _draw(name: str, figures: Figures, results: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no plots: matplotlib is missing. run_scripts/setup.sh installs it.")
        return
    drawing = TABLES[name].draw(figures)
    if drawing is not None:
        plots.save(drawing, results / f"{name}.svg")

"""Writes a scale's page: every table with the paper's figures and ours in columns apart, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from narvl.provenance import short_version
from narvl.tables.catalogue import TABLES
from narvl.tables.figures import QUARTILES, Figures, mean_text, read_figures, separate
from narvl.tables.table import BEYOND, RULE

_INTRODUCTIONS = {
    "scenes": (
        "Nano models on the embedded scenes, trained by the recipes of `configs/`. The paper's column is of its own "
        "data and sizes: a difference tells how far the scenes are from them, not how faithful the code is. What can "
        "be compared are directions: see the sentences below each table."
    ),
    "paper": "The public data sets, OFA's weights, the paper's sizes and settings.",
}


def page(scale: str, results: Path, pictures: str) -> str:
    """Write the page of a scale.

    Args:
        scale: its name.
        results: the folder of its CSV files.
        pictures: how the page links to that folder.
    """
    parts = [f"# The paper's tables, scale {scale}", "", _INTRODUCTIONS[scale], "", RULE, ""]
    parts += [
        f"Written by `narvl tables all --scale {scale}` from `results/{scale}/`; every value is there by seed.",
        "",
    ]
    for name, table in TABLES.items():
        figures = read_figures(results / f"{name}.csv")
        parts += [f"## {table.TITLE}", ""]
        if not figures.all:
            parts += [f"Not run. Command: `narvl tables {name} --scale {scale}`", ""]
            continue
        parts += [render(figures), "", table.NOTE, ""]
        parts += [*(f"- {claim}" for claim in table.claims(figures)), ""] if table.claims(figures) else []
        if (results / f"{name}.svg").is_file():
            parts += [f"![{table.TITLE}]({pictures}/{name}.svg)", ""]
        parts += [source(figures), ""]
    return "\n".join(parts)


def summary(scale: str, results: Path) -> str:
    """Write what the README says: what became of the paper's claims in every table that was run, then of our own.

    Our own are folded up.
    """
    papers: list[str] = []
    ours: list[str] = []
    for name, table in TABLES.items():
        figures = read_figures(results / f"{name}.csv")
        claims = table.claims(figures) if figures.all else []
        title = table.TITLE.removeprefix(f"{BEYOND}: ")
        if claims:
            lines = [f"- **{title[:1].upper()}{title[1:]}**", *(f"  - {claim}" for claim in claims)]
            (papers if title == table.TITLE else ours).extend(lines)
    if not papers and not ours:
        return "Not run yet."
    folded = ["", f"<details><summary>{BEYOND}</summary>", "", *ours, "", "</details>"] if ours else []
    return "\n".join([RULE, "", *papers, *folded])


def render(figures: Figures) -> str:
    """Write a table: numbers in the paper's, our and the difference's columns; texts a column a metric."""
    numbers = [figure for figure in figures.all if _is_number(figure.ours)]
    texts = Figures(figure for figure in figures.all if not _is_number(figure.ours))
    parts = []
    if numbers:
        headers = ["row", "metric", "paper", "ours", "difference", "seeds"]
        parts.append(_table(headers, _numeric_rows(Figures(numbers))))
    if texts.all:
        cells = [
            [row, *("; ".join(figure.ours for figure in texts.of(row, metric)) for metric in texts.metrics)]
            for row in texts.rows
        ]
        parts.append(_table(["", *texts.metrics], cells))
    return "\n\n".join(parts)


def _numeric_rows(figures: Figures) -> list[list[str]]:
    rows = []
    for row in figures.rows:
        for metric in figures.metrics:
            found = figures.of(row, metric)
            if found and not metric.endswith(QUARTILES):
                values = [float(figure.ours) for figure in found]
                paper = found[0].paper
                difference = f"{sum(values) / len(values) - float(paper):+.1f}" if paper else ""
                seeds = ", ".join(figure.seed for figure in found if figure.seed) or "-"
                ends = [figures.mean(row, metric + quartile) for quartile in QUARTILES]
                ours = mean_text(values)
                if ends[0] is not None and ends[1] is not None:
                    ours = f"{values[0]:.2f} ({ends[0]:.2f} to {ends[1]:.2f})"
                rows.append([row, metric, paper or "-", ours, difference or "-", seeds])
    return rows


def source(figures: Figures) -> str:
    """Say where a table's figures come from."""
    commits = dict.fromkeys(short_version(commit) for figure in figures.all for commit in separate(figure.commit))
    machines = dict.fromkeys(machine for figure in figures.all for machine in separate(figure.machine))
    said = []
    if any(len(figures.of(row, metric)) > 1 for row in figures.rows for metric in figures.metrics):
        said.append("± is the standard deviation over seeds.")
    if any(metric.endswith(QUARTILES) for metric in figures.metrics):
        said.append("In brackets are quartiles.")
    return " ".join([*said, f"Commit {', '.join(commits)}; {', '.join(machines)}."])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(escaped, headers=headers, tablefmt="github", disable_numparse=True)

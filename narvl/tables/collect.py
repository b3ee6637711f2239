"""Turns what runs have left behind into a table's figures."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from narvl.provenance import version
from narvl.tables.figures import Figure, Figures, difference, format_value, join
from narvl.tables.record import read_record
from narvl.tables.table import Entry


def collect(entries: Iterable[Entry], runs: Path) -> Figures:
    """Read every entry whose jobs have all ended; the others are left out.

    Args:
        entries: of a table.
        runs: folder of all runs.
    """
    figures: list[Figure] = []
    for entry in entries:
        records = [read_record(runs, job) for job in entry.jobs]
        ended = [record for record in records if record is not None]
        if len(ended) == len(records):
            figures += _figures(entry, ended)
    return Figures(figures)


def _figures(entry: Entry, records: list[dict[str, Any]]) -> list[Figure]:
    made = [record["provenance"] for record in records]
    # A run that was interrupted took longer than its last attempt, by how much nobody knows.
    again = any(record["attempts"] > 1 for record in records)
    minutes = sum(record["seconds"] for record in records) / 60
    seed = entry.jobs[0].seed
    return [
        Figure(
            row=entry.row,
            metric=metric,
            paper=format_value(entry.paper[metric]) if metric in entry.paper else "",
            ours=format_value(value),
            difference=difference(value, entry.paper.get(metric)),
            seed="" if seed is None else str(seed),
            commit=join(map(version, made)),
            machine=join(_machine(record["machine"]) for record in made),
            minutes=f"{'>' if again else ''}{minutes:.1f}",
            date=max(str(record["date"]) for record in made),
            command=join(shlex.join(command) for record in records for command in record["commands"]),
        )
        for metric, value in entry.read().items()
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    return f"{machine['cores']} cores of {machine['cpu']}, accelerator: {machine['accelerator']}"

"""Supplement, figure 2: what each query says, and the text that it collapses to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from narvl.tables.figures import Figures
from narvl.tables.job import Job, word
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, Values

TITLE = "Supplement, figure 2: from queries to a text"
SEEDS = 1
NOTE = "`_` is the blank. For images of your own: `narvl predict --show-queries`."

_ROWS = 6


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare the first images of the captions' first split."""
    dataset = runs.scale.dataset("captioning")
    model = runs.student(dataset, seeds[0])
    data, needs = runs.data(dataset)
    split = next(iter(dataset.splits))
    out = runs.folder / "tokens" / "tokens.json"
    command = ["python", "-m", "narvl.tables.query_tokens", "--data", word(data), "--split", split]
    command += ["--path", word(model.checkpoint), "--rows", str(_ROWS), "--out", word(out)]
    job = runs.plan.add(Job("tokens", "decode", (tuple(command),), (*needs, model.job.name), model.seed))

    return [Entry(f"image {row + 1}", (model.job, job), partial(_read, out, row)) for row in range(_ROWS)]


def _read(path: Path, row: int) -> Values:
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))[row]
    return found


def claims(figures: Figures) -> list[str]:
    """Say nothing: the figure shows."""
    return []


def draw(figures: Figures) -> None:
    """Draw nothing: the table is the figure."""

"""Supplement, table 2: captions by cross-entropy, by Q-CTC, and by Q-CTC with distillation, beside the reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from narvl.tables.catalogue import losses, texts
from narvl.tables.figures import Figures
from narvl.tables.runs import Decoded, Runs
from narvl.tables.table import Entry, Values

TITLE = "Supplement, table 2: captions by the way they were learned"
SEEDS = 1
NOTE = "The first images of the split, chosen before any output was seen."

_EXAMPLES = 4


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare the models, decoded on the first split."""
    dataset = runs.scale.dataset("captioning")
    seed = seeds[0]
    models = {
        name: runs.student(dataset, seed, *losses.LOSSES[name], distil=False) for name in ("cross-entropy", "Q-CTC")
    }
    models |= {"Q-CTC, distilled": runs.student(dataset, seed), "AR": runs.teacher(dataset, seed)}
    decoded = {name: runs.decoded(model, next(iter(dataset.splits))) for name, model in models.items()}
    first = next(iter(decoded))
    found = []
    for row in range(_EXAMPLES):
        name = f"image {row + 1}"
        jobs = (models[first].job, decoded[first].job)
        found.append(Entry(name, jobs, partial(_reference, decoded[first], row)))
        found += [
            Entry(name, (models[kind].job, part.job), partial(_said, kind, part, row)) for kind, part in decoded.items()
        ]
    return found


def _reference(decoded: Decoded, row: int) -> Values:
    return {"reference": texts.captions(decoded)[row][1][0]}


def _said(kind: str, decoded: Decoded, row: int) -> Values:
    return {kind: texts.captions(decoded)[row][0]}


def claims(figures: Figures) -> list[str]:
    """Say nothing: tables 8 and 9 count."""
    return []


def draw(figures: Figures) -> None:
    """Draw nothing."""

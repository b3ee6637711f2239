"""Beyond the paper: the theoretical speed-up, a model of latency from work, checked on points that it has not seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.job import ROOT, Job, word
from narvl.tables.latency_model import DECODINGS
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, Values

TITLE = "Beyond the paper: latency predicted from work"
SEEDS = 3
NOTE = (
    "Operations, bytes and passes are counted, their rates are fitted on half of the points of "
    "`results/speed_latency.json`, and the other half is predicted; a seed is a division into halves. *Batch 1 unseen* "
    "is harder: fitted on batches of 8 and 32 alone, single images are predicted. There the whole is still told by the "
    "encoder's operations; decoders are not, since operations hide the reading of weights in larger batches, which "
    "therefore do not tell what it costs. "
    "`narvl/tables/latency_model.py` has the equations. A rate of 0 means that the term was not needed. "
    "Decoders alone are farthest off where work is none of the model's: beam search over many hypotheses copies caches "
    "and blocks repeats, and takes longer than predicted."
)

_PARTS = (
    f"{DECODINGS[-1]}: encoder",
    *(f"{decoding}: {part}" for part in ("decoder", "whole") for decoding in DECODINGS),
)
_WITHIN = "within 20% (%)"
_UNSEEN = ", batch 1 unseen"
_SUBJECTS = {
    ": encoder": "Encoder, half of the points held back",
    ": decoder": "Decoders alone, by the way to decode",
    ": whole": "Encoder and decoder together, by the way to decode",
    f": decoder{_UNSEEN}": "Decoders alone, single images predicted from larger batches",
    f": whole{_UNSEEN}": "Encoder and decoder together, single images predicted from larger batches",
}


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a fit a seed."""
    files = {name: ROOT / "results" / f"speed_{name}.json" for name in ("latency", "floor")}
    contents = b"".join(path.read_bytes() for path in files.values() if path.is_file())
    measured = hashlib.sha256(contents).hexdigest()[:8]  # other measurements are another run
    inputs = [part for name, path in files.items() for part in (f"--{name}", word(path))]

    def fit(name: str, flag: str, number: int, seed: int | None) -> tuple[Job, Path]:
        out = runs.folder / "theory" / measured / name / "fit.json"
        words = ("python", "-m", "narvl.tables.latency_model", flag, str(number), "--out", word(out), *inputs)
        return runs.plan.add(Job(f"theory/{measured}/{name}", "decode", (words,), seed=seed)), out

    found = []
    for seed in seeds:
        job, out = fit(f"seed{seed}", "--seed", seed, seed)
        found += [Entry(part, (job,), partial(_read, out, part)) for part in _PARTS]
    job, out = fit("batch1", "--batch", 1, None)
    return [*found, *(Entry(part + _UNSEEN, (job,), partial(_errors, out, part)) for part in _PARTS)]


def _read(path: Path, part: str) -> Values:
    values: Values = json.loads(path.read_text(encoding="utf-8")).get(part, {})  # not every decoding is always timed
    return values


def _errors(path: Path, part: str) -> Values:
    return {name: value for name, value in _read(path, part).items() if name.endswith(("points", "(%)"))}


def claims(figures: Figures) -> list[str]:
    """Say how many held-back points are predicted within 20%, the ways to decode together."""
    said = []
    for ending, subject in _SUBJECTS.items():
        rows = [row for row in figures.rows if row.endswith(ending) and figures.of(row, _WITHIN)]
        if rows:
            within = sorted(figures.mean(row, _WITHIN) or 0.0 for row in rows)
            share = f"{within[0]:.0f}%" if within[0] == within[-1] else f"{within[0]:.0f} to {within[-1]:.0f}%"
            worst = max(value for row in rows for value in figures.values(row, "largest error (%)").values())
            said.append(f"{subject}: {share} of the held-back points within 20%, the worst {worst:.0f}% off.")
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw the errors of halves held back."""
    figures = Figures(figure for figure in figures.all if figure.row in _PARTS)
    return plots.bars(figures, ["median error (%)", "largest error (%)"])

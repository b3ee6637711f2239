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
    "`results/speed_latency.json`, and the other half is predicted; a seed is a division into halves. "
    "`narvl/tables/latency_model.py` has the equations. A rate of 0 means that the term was not needed. "
    "Decoders alone are farthest off where work is none of the model's: beam search over many hypotheses copies caches "
    "and blocks repeats, and takes longer than predicted."
)

_PARTS = (
    f"{DECODINGS[-1]}: encoder",
    *(f"{decoding}: {part}" for part in ("decoder", "whole") for decoding in DECODINGS),
)


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a fit a seed."""
    files = {name: ROOT / "results" / f"speed_{name}.json" for name in ("latency", "floor")}
    contents = b"".join(path.read_bytes() for path in files.values() if path.is_file())
    measured = hashlib.sha256(contents).hexdigest()[:8]  # other measurements are another run
    found = []
    for seed in seeds:
        out = runs.folder / "theory" / measured / f"seed{seed}" / "fit.json"
        command = ["python", "-m", "narvl.tables.latency_model", "--seed", str(seed), "--out", word(out)]
        for name, path in files.items():
            command += [f"--{name}", word(path)]
        job = runs.plan.add(Job(f"theory/{measured}/seed{seed}", "decode", (tuple(command),), seed=seed))
        found += [Entry(part, (job,), partial(_read, out, part)) for part in _PARTS]
    return found


def _read(path: Path, part: str) -> Values:
    values: Values = json.loads(path.read_text(encoding="utf-8")).get(part, {})  # not every decoding is always timed
    return values


def claims(figures: Figures) -> list[str]:
    """Say how many held-back points are predicted within 20%."""
    said = []
    for part in figures.rows:
        within, largest = figures.mean(part, "within 20% (%)"), figures.values(part, "largest error (%)")
        if within is not None:
            worst = max(largest.values())
            said.append(f"{part}: {within:.0f}% of the held-back points within 20%, the worst {worst:.0f}% off.")
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw the errors."""
    return plots.bars(figures, ["median error (%)", "largest error (%)"])

"""Table 11: captions by the beam of CTC's search."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, compare, pace, quality, speed

TITLE = "Table 11: the beam of CTC's search, captions"
SEEDS = 3
NOTE = "Beam search changes decoding alone: the models are table 1's."


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare the ways to decode."""
    dataset = runs.scale.dataset("captioning")
    models = [runs.student(dataset, seed) for seed in seeds]
    found = []
    for beam, published in paper.BEAM.items():
        name, flags = (f"beam{beam}", ("--ctc-beam", str(beam))) if beam else ("", ())
        found += [quality(runs, row_of(beam), model, published, name, flags) for model in models]
    beams = [str(beam) for beam in paper.BEAM]
    timed = runs.timed("beam", {"NAR": models[0]}, ("--ctc-beam", *beams))
    rows = {
        ("NAR", f"CTC beam {beam}" if beam else "parallel"): (row_of(beam), paper.BEAM[beam]) for beam in paper.BEAM
    }
    greedy, *others = map(row_of, paper.BEAM)
    return [*found, *speed(timed, rows, dict.fromkeys(others, greedy))]


def row_of(beam: int) -> str:
    """Name the row of a beam."""
    return f"beam {beam}" if beam else "greedy"


def claims(figures: Figures) -> list[str]:
    """The beam helps little, and costs time."""
    greedy, *_, widest = (row_of(beam) for beam in paper.BEAM)
    said = [compare(f"{widest} is above {greedy}", figures, "CIDEr", widest, greedy)]
    return [*said, *pace(figures, widest, greedy, f"{widest} takes", f"the time of {greedy}", longer=True)]


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr and time by the beam."""
    return plots.curves(figures, {"": {row_of(beam): float(beam) for beam in paper.BEAM}}, ["CIDEr", "ms"], "beam")

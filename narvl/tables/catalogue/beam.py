"""Table 11: captions by the beam of CTC's search."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import paper, plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, differences, quality, speed, verdict

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
    return [*found, *speed(timed, rows)]


def row_of(beam: int) -> str:
    """Name the row of a beam."""
    return f"beam {beam}" if beam else "greedy"


def claims(figures: Figures) -> list[str]:
    """The beam helps little, and costs time."""
    greedy, *_, widest = (row_of(beam) for beam in paper.BEAM)
    said = [verdict(f"{widest} is above {greedy}", differences(figures, "CIDEr", widest, greedy), "CIDEr")]
    times = [figures.mean(row, "ms") for row in (greedy, widest)]
    if times[0] and times[1]:
        said.append(f"{widest} takes {times[1] / times[0]:.1f}x the time of {greedy}.")
    return said


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr and time by the beam."""
    return plots.curves(figures, {"": {row_of(beam): float(beam) for beam in paper.BEAM}}, ["CIDEr", "ms"], "beam")

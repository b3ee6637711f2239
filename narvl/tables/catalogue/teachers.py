"""Beyond the paper: the size of the teacher, captions."""

from __future__ import annotations

from collections.abc import Sequence

from narvl.tables import plots
from narvl.tables.figures import Figures
from narvl.tables.runs import Runs
from narvl.tables.table import Entry, compare, quality

TITLE = "Beyond the paper: the teacher's size, captions"
SEEDS = 1
NOTE = (
    "Students are of one size, and on scenes start from the same weights, those of a teacher of their own size: what "
    "differs is who wrote the captions that they learn. At the paper's scale the others start from OFA's weights. On "
    "scenes all teachers train by nano's recipe, learning rate included, at which the wide one learns little."
)


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a student a teacher's size, and the teachers."""
    dataset = runs.scale.dataset("captioning")
    found = []
    for size in runs.scale.sizes:
        for seed in seeds:
            own = size == runs.scale.base
            name = "narvl" if own else f"narvl-of-{size}"
            student = runs.student(dataset, seed, name, teacher_size="" if own else size)
            found.append(quality(runs, f"student of {size}", student))
            found.append(quality(runs, f"teacher {size}", runs.teacher(dataset, seed, size)))
    return found


def claims(figures: Figures) -> list[str]:
    """The larger the teacher, the better the student."""
    sizes = [row.rpartition(" ")[2] for row in figures.rows if row.startswith("teacher")]
    return [
        compare(
            f"A {larger} teacher is above a {smaller} one",
            figures,
            "CIDEr",
            f"student of {larger}",
            f"student of {smaller}",
        )
        for smaller, larger in zip(sizes, sizes[1:], strict=False)
    ]


def draw(figures: Figures) -> plots.Drawing:
    """Draw CIDEr by row."""
    return plots.bars(figures, ["CIDEr"])

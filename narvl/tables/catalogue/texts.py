"""Supplement, table 1: the teacher's captions beside the human ones, and how diverse each are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from narvl.tables.figures import Figures
from narvl.tables.runs import Decoded, Runs
from narvl.tables.table import Entry, Values, compare

TITLE = "Supplement, table 1: the teacher's captions and the human ones"
SEEDS = 1
NOTE = (
    "Human captions are the data set's, the first of each image where they are counted. Distinct-n is the share of "
    "n-grams that are different ones; words are those that occur at all. On scenes, the grammar's wordings stand for "
    "human ones."
)

_EXAMPLES = 3


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare the teacher's captions of the first split."""
    dataset = runs.scale.dataset("captioning")
    teacher = runs.teacher(dataset, seeds[0])
    decoded = runs.decoded(teacher, next(iter(dataset.splits)))
    jobs = (teacher.job, decoded.job)

    examples = [Entry(f"image {row + 1}", jobs, partial(_example, decoded, row)) for row in range(_EXAMPLES)]
    return [
        Entry("teacher", jobs, lambda: diversity(said for said, _ in captions(decoded))),
        Entry("human", jobs, lambda: diversity(truth[0] for _, truth in captions(decoded))),
        *examples,
    ]


def captions(decoded: Decoded) -> list[tuple[str, list[str]]]:
    """Return what was said of each image, and its human captions."""
    from narvl.data.captioning import references
    from narvl.data.tsv import COLUMNS, TsvFile
    from narvl.evaluation.generations import read_generations

    rows = TsvFile(decoded.data / f"{decoded.split}.tsv", COLUMNS["captioning"])
    return [(said.text, references(rows[index])) for index, said in sorted(read_generations(decoded.texts).items())]


def diversity(texts: Iterable[str]) -> dict[str, float]:
    """Measure how diverse texts are: words, distinct-1 and distinct-2 (Li et al. 2016), and different texts, in %."""
    said = [text.lower().split() for text in texts]
    singles = [word for text in said for word in text]
    pairs = [pair for text in said for pair in zip(text, text[1:], strict=False)]
    return {
        "words": float(len(set(singles))),
        "distinct-1 (%)": 100 * len(set(singles)) / max(1, len(singles)),
        "distinct-2 (%)": 100 * len(set(pairs)) / max(1, len(pairs)),
        "different texts (%)": 100 * len(set(map(tuple, said))) / max(1, len(said)),
    }


def _example(decoded: Decoded, row: int) -> Values:
    said, truth = captions(decoded)[row]
    return {"teacher says": said, **{f"human {number}": text for number, text in enumerate(truth, 1)}}


def claims(figures: Figures) -> list[str]:
    """Human captions are the more diverse; the teacher's are easier to learn."""
    return [
        compare(f"Human captions are more diverse than the teacher's, by {metric}", figures, metric, "human", "teacher")
        for metric in ("words", "distinct-2 (%)", "different texts (%)")
        if figures.rows
    ]


def draw(figures: Figures) -> None:
    """Draw nothing."""

"""Tells where two models of a task differ: their scores on the scenes' kinds of expressions, questions and hypotheses.

Usage: python benchmarks/kinds.py [RUNS]    (RUNS: the folder of the runs behind table 1; default: runs/tables/scenes)
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from records import write
from tabulate import tabulate

from narvl.data import entailment, grounding, vqa
from narvl.data.boxes import parse_fractions, to_fractions
from narvl.data.image import upright_size
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError
from narvl.evaluation.generations import read_generations
from narvl.evaluation.grounding import iou
from narvl.evaluation.vqa import weighted_accuracy
from narvl.provenance import provenance
from narvl.scenes.lexicon import EXTREMES, RELATIONS

ROOT = Path(__file__).resolve().parents[1]
RUNS = {"AR": "ofa", "NARVL": "narvl"}
SEED = 1
_RELATION = "|".join(phrase for phrases in RELATIONS.values() for phrase in phrases)
_EXTREME = "|".join(EXTREMES.values())

#: For each task, its text's column and the kinds: the first whose pattern is found in the text.
KINDS: dict[str, tuple[int, dict[str, str]]] = {
    "grounding": (2, {"place": f"{_RELATION}|{_EXTREME}", "attributes alone": ""}),
    "vqa": (
        2,
        {
            "left or right, above or below": " or (right|below)",
            "how many": "how many",
            "colour": "colour",
            "shape": "what shape|the shape",
            "size": "what size|large or small",
            "yes or no": "",
        },
    ),
    "entailment": (
        3,
        {
            "what no picture shows": "heav|warm|old|wood|belongs|moved|fell",
            "place": _RELATION,
            "background or number": "background|there are",
            "one object": "",
        },
    ),
}


def grounding_score(text: str, fields: list[str]) -> Mapping[str, float]:
    """Acc@0.5, and what misses are: a box of half this and half that object overlaps the truth in part."""
    said, truth = parse_fractions(text), grounding.box(fields)
    assert truth is not None
    overlap = iou(said, to_fractions(truth, *upright_size(fields[4]))) if said else 0.0
    return {"right": overlap >= 0.5, "partly": 0.1 <= overlap < 0.5, "elsewhere": overlap < 0.1}


SCORES: dict[str, Callable[[str, list[str]], Mapping[str, float]]] = {
    "grounding": grounding_score,
    "vqa": lambda text, fields: {"right": weighted_accuracy(text, vqa.answers(fields))},
    "entailment": lambda text, fields: {"right": text == entailment.label(fields)},
}


def decoded(runs: Path, task: str, run: str) -> Path:
    """Return where a run's decoded test split is.

    Raises:
        DataError: it has not been run.
    """
    folder = runs / task / run / f"seed{SEED}" / "decoded"
    if not (folder / "scores-test.json").is_file():
        raise DataError(f"{folder}: nothing decoded. Run: narvl tables table1 --runs {runs}")
    return folder


def provenance_of(runs: Path) -> dict[str, object]:
    """Return where the figures come from: the version that the runs were scored by, not today's.

    Raises:
        DataError: they were scored by several versions.
    """
    scored = [decoded(runs, task, run) / "scores-test.json" for task in KINDS for run in RUNS.values()]
    made = [json.loads(path.read_text(encoding="utf-8"))["provenance"] for path in scored]
    commits = {str(record["commit"]) for record in made}
    if len(commits) > 1:
        raise DataError(f"{runs}: scored by versions {', '.join(sorted(commits))}. Make the runs by one.")
    of_runs = {"commit": commits.pop(), "dirty": any(record.get("dirty") for record in made)}
    return {**provenance(SEED), **of_runs, "command": "python benchmarks/kinds.py"}


def scores_by_kind(task: str, runs: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Score each run on each kind: run -> kind -> figure -> value."""
    rows = TsvFile(runs / "data" / task / "test.tsv", COLUMNS[task])
    column, kinds = KINDS[task]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, run in RUNS.items():
        said = read_generations(decoded(runs, task, run) / "generate-test.txt")
        values: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        for index in range(len(rows)):
            fields = rows[index]
            kind = next(kind for kind, pattern in kinds.items() if re.search(pattern, fields[column]))
            values[kind].append(SCORES[task](said[index].text, fields))
        found[name] = {
            kind: {"samples": len(items)} | {key: sum(item[key] for item in items) / len(items) for key in items[0]}
            for kind in kinds
            if (items := values[kind])
        }
    return found


def main() -> None:
    """Write the figures of every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=ROOT / "runs" / "tables" / "scenes", metavar="RUNS")
    args = parser.parse_args()
    found = {task: scores_by_kind(task, args.runs) for task in KINDS}
    record = {"tasks": found, "provenance": provenance_of(args.runs)}
    write("kinds", record)
    for task, runs in found.items():
        cells = [
            [kind, *(f"{value:.1%}" if key != "samples" else value for key, value in figures.items()), name]
            for name, kinds in runs.items()
            for kind, figures in kinds.items()
        ]
        sys.stdout.write(f"{task}\n{tabulate(cells, disable_numparse=True)}\n")


if __name__ == "__main__":
    main()

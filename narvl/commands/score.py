"""``narvl score``: judges generated text by the references of a split."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from narvl.errors import UsageError

HELP = "score what fairseq-generate wrote against the references of a split"

#: Shown where a metric has no value; the reason stands beside it or under the table.
NOT_RUN = "not run"


@dataclasses.dataclass(frozen=True)
class TaskScorer:
    """How one task is scored.

    Attributes:
        help: one line for ``narvl score --help``.
        add_arguments: adds the flags that only this task has.
        score: from the command's flags to the figures for ``--json`` and the rows of the table.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    score: Callable[[argparse.Namespace], tuple[dict[str, Any], list[tuple[str, str]]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a subcommand for each task."""
    tasks = parser.add_subparsers(dest="score_task", metavar="TASK", required=True)
    for name, scorer in TASKS.items():
        task = tasks.add_parser(name, help=scorer.help, description=scorer.help)
        task.add_argument("--results", required=True, metavar="FILE", help="generate-SPLIT.txt of fairseq-generate")
        task.add_argument("--data", required=True, metavar="DIR", help="data directory that holds SPLIT.tsv")
        task.add_argument("--split", default="test", help="split that was generated (default: %(default)s)")
        task.add_argument("--json", metavar="FILE", help="also write all figures and where they come from to FILE")
        scorer.add_arguments(task)


def run(args: argparse.Namespace) -> None:
    """Score, print the table, and write the JSON file if asked to.

    Raises:
        DataError: results or data cannot be used.
        UsageError: the JSON file cannot be written, or Java's tokenizer fails.
    """
    from tabulate import tabulate

    from narvl.provenance import provenance

    figures, table = TASKS[args.score_task].score(args)
    sys.stdout.write(tabulate(table, disable_numparse=True, colalign=("left", "right")) + "\n")
    for name, reason in figures["not_run"].items():
        sys.stdout.write(f"{name} was not run: {reason}\n")
    if args.json:
        record = {"task": args.score_task, "split": args.split, **figures, "provenance": provenance()}
        path = Path(args.json)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--json {path}: cannot be written ({error.strerror}). Give another path.") from error


def _add_captioning_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spice", action="store_true", help="download the models that SPICE needs (about 400 MB) if they are missing"
    )


def _score_captioning(args: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from narvl.evaluation.caption import score_captions
    from narvl.evaluation.faithfulness import judge_captions, summarise
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.references import read_split

    captions = {index: generation.text for index, generation in read_generations(args.results).items()}
    split = read_split(args.data, args.split)
    scores = score_captions(captions, split.references, download_spice=args.spice)
    figures: dict[str, Any] = {**dataclasses.asdict(scores), "faithfulness": None}

    table = [("captions", str(scores.samples)), ("tokenizer", scores.tokenizer)]
    for name, value in scores.metrics.items():
        table.append((f"{name} (x100)", NOT_RUN if value is None else f"{100 * value:.2f}"))
    if split.scenes is not None:
        faithfulness = summarise(judge_captions(captions, split.scenes))
        figures["faithfulness"] = dataclasses.asdict(faithfulness)
        table.append(("faithful", f"{faithfulness.faithful:.2%}"))
        table.append(("ungrammatical", f"{faithfulness.ungrammatical:.2%}"))
        table.append(("statements a caption", f"{faithfulness.statements:.2f}"))
    return figures, table


#: Every task that can be scored. A task's ``score`` returns at least ``not_run`` among its figures.
TASKS: dict[str, TaskScorer] = {
    "captioning": TaskScorer(
        help="BLEU-1..4, METEOR, ROUGE-L, CIDEr, SPICE and, for scenes, faithfulness",
        add_arguments=_add_captioning_arguments,
        score=_score_captioning,
    ),
}

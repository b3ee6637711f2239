"""Work out a training run: batches, gradient accumulation, updates, warm-up.

Prints a line for people, then fairseq-train's flags, one word a line. run_scripts/train.sh calls it and puts the flags
behind all others.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from narvl.errors import UsageError

if TYPE_CHECKING:
    from narvl.schedule import Schedule

HELP = "work out batches, gradient accumulation, updates and warm-up of a training run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("--data", required=True, metavar="DATA", help="data folder with train.tsv")
    parser.add_argument("--task", required=True, help="whose rows they are: captioning, vqa, grounding, entailment")
    parser.add_argument("--effective-batch", type=int, required=True, metavar="N", help="samples behind one update")
    parser.add_argument("--warmup-ratio", type=float, required=True, metavar="R", help="share of the updates, 0 to 1")
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="GPUs over all machines")
    parser.add_argument(
        "flags",
        nargs="*",
        metavar="-- FLAGS",
        help="behind two dashes, fairseq-train's flags: --batch-size and --max-epoch are read, and so are "
        "--update-freq, --max-update, --total-num-update, --warmup-updates where given; the last of each counts",
    )


def run(args: argparse.Namespace) -> None:
    """Run the subcommand.

    Raises:
        DataError: there are no training rows.
        UsageError: a flag does not fit.
    """
    from narvl.data.tsv import COLUMNS, TsvFile
    from narvl.schedule import plan

    if args.task not in COLUMNS:
        raise UsageError(f"--task {args.task}: choose one of {', '.join(COLUMNS)}.")
    for flag, number in (("--effective-batch", args.effective_batch), ("--processes", args.processes)):
        if number < 1:
            raise UsageError(f"{flag} {number}: give at least 1.")
    if not 0 <= args.warmup_ratio <= 1:
        raise UsageError(f"--warmup-ratio {args.warmup_ratio}: give a share from 0 to 1.")
    given = _read_flags(args.flags)
    if given.max_tokens is not None:
        raise UsageError("--max-tokens: the recipe's batches are counted in samples. Give --batch-size.")
    batch_size, epochs = _number(given, "batch_size"), _number(given, "max_epoch")
    if batch_size is None or epochs is None:
        raise UsageError("--batch-size and --max-epoch are needed behind the --.")
    schedule = plan(
        rows=len(TsvFile(f"{args.data}/{given.train_subset}.tsv", COLUMNS[args.task])),
        epochs=epochs,
        effective_batch=args.effective_batch,
        processes=args.processes,
        batch_size=batch_size,
        warmup_ratio=args.warmup_ratio,
        accumulation=_number(given, "update_freq"),
        max_updates=_number(given, "max_update"),
        updates=_number(given, "total_num_update"),
        warmup=_number(given, "warmup_updates", least=0),
    )
    unit = "CPU process" if given.cpu else "GPU"
    line = [_describe(schedule, unit)]
    if schedule.batch_size < batch_size:
        line.append(f"{batch_size} a {unit} cannot make up {args.effective_batch}, {schedule.batch_size} can")
    if schedule.effective_batch != args.effective_batch:
        line.append(f"--update-freq replaces the recipe's {args.effective_batch} samples")
    # fairseq would round batches down to multiples of 8, and the effective batch with them.
    flags = ["--batch-size", schedule.batch_size, "--required-batch-size-multiple", 1]
    flags += ["--update-freq", schedule.accumulation]
    flags += ["--total-num-update", schedule.updates, "--warmup-updates", schedule.warmup]
    sys.stdout.write("; ".join(line) + "\n" + "".join(f"{flag}\n" for flag in flags))


def _read_flags(flags: list[str]) -> argparse.Namespace:
    """Pick what matters here from fairseq-train's flags."""
    parser = argparse.ArgumentParser(prog="fairseq-train", add_help=False, allow_abbrev=False)
    parser.add_argument("--batch-size", "--max-sentences")
    for name in ("--max-epoch", "--update-freq", "--max-update", "--total-num-update", "--warmup-updates"):
        parser.add_argument(name)
    parser.add_argument("--max-tokens")
    parser.add_argument("--train-subset", default="train")
    parser.add_argument("--cpu", action="store_true")
    return parser.parse_known_args(flags)[0]


def _number(given: argparse.Namespace, name: str, least: int = 1) -> int | None:
    """Return a flag's value; None where it was not given."""
    text = vars(given)[name]
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise UsageError(f"--{name.replace('_', '-')} {text}: with this recipe, give one whole number from {least}.")
    return int(text)


def _describe(schedule: Schedule, unit: str) -> str:
    plural = {"GPU": "GPUs", "CPU process": "CPU processes"}[unit]
    share = f"{schedule.processes} {plural if schedule.processes > 1 else unit} x {schedule.batch_size}"
    return (
        f"{schedule.updates:,} updates of {schedule.effective_batch} samples ({share} x {schedule.accumulation}), "
        f"{schedule.warmup:,} of them warm-up"
    )

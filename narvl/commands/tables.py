"""Make the paper's tables and figures: run what they need; write results/SCALE/TABLE.csv, plots and a page in docs/.

  narvl tables                              list the tables, and how far each is
  narvl tables table1 --scale scenes        one of them, on the embedded scenes
  narvl tables all --scale paper --dry-run  every command, with an estimate of time and memory

Stopped at any moment, the same command goes on: no run that has ended is repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from narvl.errors import DataError, UsageError

if TYPE_CHECKING:
    from narvl.tables.job import Job
    from narvl.tables.runs import Runs
    from narvl.tables.scales import Scale
    from narvl.tables.table import Entry, Table

HELP = "the paper's tables and figures, from the runs behind them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="tables to make, or all; without one they are listed"
    )
    parser.add_argument(
        "--scale",
        choices=("scenes", "paper"),
        default="scenes",
        help="scenes: embedded data, nano models; paper: public data, OFA's weights (default: scenes)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="trainings of each kind (default: scenes 1 to 3, by table; paper 1)",
    )
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of all runs (default: runs/tables/SCALE)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="folder of CSV files and plots (default: results/SCALE)"
    )
    parser.add_argument("--docs", type=Path, metavar="DIR", help="folder of the written page (default: docs)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time, sharing the cores (default: 1)"
    )
    parser.add_argument("--cpu", action="store_true", help="scale paper: train and decode without a GPU")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="scale paper: a folder for each of coco, vqa, refcoco, refcoco+, refcocog, snli-ve (default: data)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=Path("weights"),
        metavar="DIR",
        help="scale paper: ofa_SIZE.pt for each size (default: weights)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, with an estimate; run nothing")
    parser.add_argument(
        "--publish", action="store_true", help="write the tables from the runs that have ended; run nothing"
    )
    parser.add_argument(
        "--slurm", action="store_true", help="hand the runs to Slurm; then call again without it, for the tables"
    )
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of sbatch, for every run (--sbatch=--partition=gpu) or for those of a kind: data, train,"
        " distil, decode, time (--sbatch=train:--gpus-per-node=8); repeat",
    )
    parser.add_argument("--job", metavar="NAME", help="run this job alone (what Slurm is given)")


def run(args: argparse.Namespace) -> None:
    """Run the subcommand.

    Raises:
        UsageError: a flag cannot be used, or runs failed.
    """
    from narvl.tables import scales
    from narvl.tables.catalogue import TABLES
    from narvl.tables.job import ROOT
    from narvl.tables.runs import Runs

    if not (ROOT / "run_scripts").is_dir():
        raise UsageError("narvl tables: needs the repository, whose scripts train. Install from a clone (setup.sh).")
    for flag, number in (("--seeds", args.seeds), ("--jobs", args.jobs)):
        if number is not None and number < 1:
            raise UsageError(f"{flag} {number}: give at least 1.")
    unknown = [name for name in args.tables if name not in (*TABLES, "all")]
    if unknown:
        raise UsageError(f"no table {', '.join(unknown)}. There are: {', '.join(TABLES)}; or all.")
    paper = scales.paper(args.data.absolute(), args.weights.absolute())
    scale = scales.scenes() if args.scale == "scenes" else paper
    folder = (args.runs or ROOT / "runs" / "tables" / scale.name).absolute()
    runs = Runs(scale, folder, args.cpu)
    chosen = list(TABLES) if "all" in args.tables or not args.tables else list(dict.fromkeys(args.tables))
    entries = {
        name: TABLES[name].entries(runs, range(1, 1 + (args.seeds or _seeds(TABLES[name], scale)))) for name in chosen
    }
    if args.job:
        _run_one(runs, args.job)
    elif not args.tables:
        _list(runs, entries)
    elif args.dry_run:
        _print_commands(runs, _jobs(runs, entries))
    elif args.slurm:
        _submit(runs, _jobs(runs, entries), args)
    else:
        _make(runs, entries, args)


def _seeds(table: Table, scale: Scale) -> int:
    """Return the trainings of each kind: at the paper's scale one, as in the paper."""
    return table.SEEDS if scale.weights is None else 1


def _jobs(runs: Runs, entries: Mapping[str, Sequence[Entry]]) -> list[Job]:
    """Return the jobs of tables, in an order in which they can be run."""
    return runs.plan.behind(job.name for found in entries.values() for entry in found for job in entry.jobs)


def _run_one(runs: Runs, name: str) -> None:
    from narvl.tables.runner import Runner

    if name not in {job.name for job in runs.plan}:
        raise UsageError(f"--job {name}: these tables have no such run. `narvl tables TABLE --dry-run` names them.")
    left = [need for need in runs.plan[name].needs if not runs.ended(runs.plan[need])]
    if left:
        raise UsageError(f"--job {name}: it needs {', '.join(left)}, which have not ended. Run them before it.")
    Runner(runs.folder).run_one(runs.plan[name])


def _list(runs: Runs, entries: Mapping[str, Sequence[Entry]]) -> None:
    from tabulate import tabulate

    from narvl.tables.catalogue import TABLES

    cells = []
    with _going_on() as named:
        for name, found in entries.items():
            jobs, ended = _jobs(runs, {name: found}), "unknown"
            with named(name):
                ended = f"{sum(runs.ended(job) for job in jobs)} of {len(jobs)}"
            cells.append([name, TABLES[name].TITLE, ended])
        headers = ["table", "what it shows", f"runs ended ({runs.scale.name})"]
        sys.stdout.write(tabulate(cells, headers=headers, tablefmt="simple") + "\n")


def _print_commands(runs: Runs, jobs: Sequence[Job]) -> None:
    from narvl.tables.estimate import CPU_RATE, GPU_RATE, training_cost

    hours, left = 0.0, 0
    with _going_on() as named:
        for job in jobs:
            ended = False
            with named(job.name):
                ended = runs.ended(job)
            cost = training_cost(job, runs.scale)
            note = "" if cost is None else f"  {cost.samples:,} samples"
            if cost is not None and runs.scale.weights is None:
                note += f", about {60 * cost.hours(CPU_RATE):.0f} minutes of a core"
            elif cost is not None:
                note += f", about {cost.hours(GPU_RATE):.0f} hours of an A100, {cost.memory / 1e9:.0f} GB on each GPU"
            if not ended:
                left += 1
                hours += 0.0 if cost is None else cost.hours(CPU_RATE if runs.scale.weights is None else GPU_RATE)
            sys.stdout.write(f"# {job.name}{' (done)' if ended else ''}{note}\n")
            sys.stdout.write("".join(f"{shlex.join(command)}\n" for command in job.commands))
        unit = (
            "hours of a CPU core" if runs.scale.weights is None else "GPU hours (A100, 30% of its peak: an assumption)"
        )
        done = f", {len(jobs) - left} of them done" if left < len(jobs) else ""
        sys.stdout.write(f"# {len(jobs)} runs{done}; the trainings left, all told, about {hours:.1f} {unit}\n")


def _submit(runs: Runs, jobs: Sequence[Job], args: argparse.Namespace) -> None:
    from narvl.tables.slurm import submit

    same = [*args.tables, "--scale", args.scale, "--runs", str(runs.folder)]
    same += ["--data", str(args.data.absolute()), "--weights", str(args.weights.absolute())]
    same += ["--seeds", str(args.seeds)] if args.seeds else []
    same += ["--cpu"] if args.cpu else []
    command = [sys.executable, "-m", "narvl.cli", "tables", *same, "--job"]
    numbers = submit(jobs, runs.folder, command, args.sbatch)
    sys.stdout.write(
        f"{len(numbers)} runs submitted, without those that have ended, run or wait. Once all have ended, the same "
        "command without --slurm writes the tables.\n"
    )


def _make(runs: Runs, entries: Mapping[str, Sequence[Entry]], args: argparse.Namespace) -> None:
    from narvl.tables.job import ROOT
    from narvl.tables.publish import publish
    from narvl.tables.render import render
    from narvl.tables.runner import Runner

    results, docs = args.results or ROOT / "results" / runs.scale.name, args.docs or ROOT / "docs"

    def publish_so_far(job: Job) -> None:
        for name, found in entries.items():
            if any(job in entry.jobs for entry in found):
                with contextlib.suppress(DataError, UsageError):  # which the table's own turn tells
                    publish(name, found, runs, results, docs)

    with _going_on() as named:
        if not args.publish:
            with named("runs"):
                # One plan of all tables: as long as any of them has a job to do, no core waits for another's last one.
                Runner(runs.folder, args.jobs).run(_jobs(runs, entries), publish_so_far)
        for name, found in entries.items():
            with named(name):
                figures = publish(name, found, runs, results, docs)
                sys.stdout.write(f"{name}\n{render(figures)}\n\n")
                sys.stdout.flush()


@contextlib.contextmanager
def _going_on() -> Iterator[Callable[[str], contextlib.AbstractContextManager[None]]]:
    """Let what concerns one table or run not stop the others: yield what names its errors and keeps them to the end.

    Raises:
        UsageError: of all that failed.
    """
    failures: list[str] = []

    @contextlib.contextmanager
    def named(name: str) -> Iterator[None]:
        try:
            yield
        except (DataError, UsageError) as error:
            failures.append(f"{name}: {error}")

    yield named
    if failures:
        raise UsageError("\n".join(dict.fromkeys(failures)))

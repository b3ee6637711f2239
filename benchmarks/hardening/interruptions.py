"""Stops commands at random moments, starts them again, and compares what they make with an undisturbed run.

Kinds of work: a training, a distillation, the preparation of a data set, the runs behind a table. Ways to stop them:
SIGKILL, SIGTERM, a disk that is full (no file may grow beyond a random size), the death of a worker process.

A try fails where a file with its final name is not whole, an ended command does not say that it failed or does not name
the file that it could not write, a process hangs or leaves others behind, the same command does not go on from what was
done, or the end differs: weights by more than 1e-6, anything else by a byte.

  python benchmarks/hardening/interruptions.py                   30 tries: two of each kind and stop; about 10 minutes
  python benchmarks/hardening/interruptions.py --kinds tables --tries 10

Commands run in forks of one process that has their imports done. This one may itself be stopped: given again, it goes
on with the tries that are left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from interrupted.distil import Distil
from interrupted.preloaded import Server
from interrupted.prepare import Prepare
from interrupted.process import Running, environment, wait_until
from interrupted.stops import FULL_DISK, KILL, STOPS, TERMINATE, WORKER
from interrupted.tables import Tables
from interrupted.train import Train
from interrupted.work import Work
from narvl.errors import UsageError
from narvl.provenance import provenance

RESULTS = Path(__file__).resolve().parents[2] / "results" / "interruptions.json"
KINDS: dict[str, type[Work]] = {"train": Train, "distil": Distil, "prepare": Prepare, "tables": Tables}
#: The exit statuses that a stop may have: by the signal, or by the command's own word for it.
STATUSES = {KILL: (-9,), TERMINATE: (-15, 143)}
# A command may have ended, or written all that it had to, before the moment came; then another one is drawn.
_DRAWS = 8
_LAST_LINES = 12


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its folder, how long it worked, and the size of its largest file in bytes."""

    folder: Path
    seconds: float
    size: int


def run_whole(work: Work, folder: Path, server: Server | None) -> Whole:
    """Run a command undisturbed."""
    work.begin(folder)
    running = Running(work.command(folder), server)
    wait_until(lambda: work.begun(folder), running)
    start = time.monotonic()
    status, _ = running.wait()
    if status != 0:
        raise UsageError("an undisturbed run failed:\n" + "\n".join(running.lines[-_LAST_LINES:]))
    return Whole(folder, time.monotonic() - start, work.size(folder))


def one_try(
    work: Work, stop: str, whole: Whole, out: Path, rng: random.Random, server: Server | None
) -> dict[str, Any]:
    """Stop a command once, and start it again.

    Returns:
        ``stopped``: whether any of the moments drawn came in time; ``moment_s``: seconds of work before it; ``status``:
        the exit status then, None where it hung; ``said``: its last line; ``problems``: what was found wrong.
    """
    for _ in range(_DRAWS):
        shutil.rmtree(out, ignore_errors=True)
        work.begin(out)
        moment = rng.random() * whole.seconds
        running = Running(work.command(out), server)
        wait_until(lambda: work.begun(out), running)
        running.pause(moment)
        if not running.ended:
            STOPS[stop](running, whole.size, rng)
        status, orphans = running.wait()
        if status != 0:
            break
    said = running.lines[-1].replace(str(out), "OUT").replace(str(out.parent), "FOLDER")[:300] if running.lines else ""
    problems = judge_end(stop, status, orphans, running.lines, out) + work.damages(out, whole.folder)
    if not problems:
        problems = restart(work, whole, out, server)
    return {
        "stopped": status != 0,
        "moment_s": round(moment, 2),
        "status": status,
        "said": said,
        "problems": problems,
    }


def restart(work: Work, whole: Whole, out: Path, server: Server | None) -> list[str]:
    """Give a command that was stopped again; tell what went wrong."""
    state = work.state(out)
    running = Running(work.command(out), server)
    status, orphans = running.wait()
    if status != 0:
        return [f"given again, it ended with {status}: {' '.join(running.lines[-1:])}".replace(str(out), "OUT")]
    problems = ["given again, it left processes behind"] * orphans
    return problems + work.repeats(state, out, running.lines) + work.differences(out, whole.folder)


def judge_end(stop: str, status: int | None, orphans: bool, lines: Sequence[str], out: Path) -> list[str]:
    """Tell what was wrong with the end of a command that was stopped.

    Args:
        stop: how.
        status: its exit status; None where it hung.
        orphans: whether it left processes behind.
        lines: its output.
        out: the folder that it wrote to.
    """
    problems = ["left processes behind"] * orphans
    if status is None:
        problems.append("hung")
    elif stop in STATUSES and status not in (0, *STATUSES[stop]):
        problems.append(f"ended with {status}, not {STATUSES[stop][0]}")
    elif stop == FULL_DISK and status and not any(str(out) in line for line in lines[-_LAST_LINES:]):
        problems.append("did not name the file")
    elif stop == WORKER and status and status < 0:
        problems.append(f"died of signal {-status} with its worker")
    return problems


class Results:
    """The results file: one entry a try, written as they come.

    Args:
        args: the command's.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._path: Path = args.out
        self._seed: int = args.seed
        self.tries: dict[str, Any] = {}
        if self._path.is_file() and not args.fresh:
            try:
                old = json.loads(self._path.read_text(encoding="utf-8"))
                seed, self.tries = old["provenance"]["seed"], old["tries"]
            except (ValueError, LookupError, TypeError) as error:
                raise UsageError(f"--out {self._path}: no results of this command ({error}). Add --fresh.") from error
            if seed != self._seed:
                raise UsageError(
                    f"--seed {self._seed}: {self._path} is of seed {seed}. Give another --out, or --fresh."
                )

    def add(self, key: str, found: dict[str, Any]) -> None:
        """Add a try and write the file."""
        made = provenance(self._seed)
        self.tries[key] = {**found, "commit": made["commit"]}
        record = {"totals": self.totals(), "tries": self.tries, "provenance": made}
        partial = self._path.with_suffix(".partial")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self._path)

    def totals(self) -> list[dict[str, Any]]:
        """Count tries and failures of each kind and stop."""
        counts: dict[tuple[str, str], list[int]] = {}
        for key, found in self.tries.items():
            kind, stop, _ = key.split(", ")
            count = counts.setdefault((kind, stop), [0, 0, 0])
            count[0] += 1
            count[1] += bool(found["problems"])
            count[2] += not found["stopped"]
        return [
            {"kind": kind, "stop": stop, "tries": tries, "failures": failures, "not_stopped": missed}
            for (kind, stop), (tries, failures, missed) in counts.items()
        ]


def measure(args: argparse.Namespace) -> Results:
    """Make the tries that the results file does not hold yet."""
    results = Results(args)
    wanted = {
        kind: [
            (stop, f"{kind}, {stop}, {number}")
            for number in range(1, args.tries + 1)
            for stop in KINDS[kind].stops
            if f"{kind}, {stop}, {number}" not in results.tries
        ]
        for kind in args.kinds
    }
    with (
        tqdm(total=sum(map(len, wanted.values())), unit="try", disable=None) as bar,
        contextlib.nullcontext() if args.no_fork else Server(environment()) as server,
    ):
        for kind, keys in wanted.items():
            if not keys:
                continue
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name).resolve()
                bar.set_postfix_str(f"{kind}, undisturbed")
                (folder / "input").mkdir()
                work = KINDS[kind](folder / "input", args.seed)
                whole = run_whole(work, folder / "whole", server)
                for stop, key in keys:
                    bar.set_postfix_str(key)
                    rng = random.Random(f"{args.seed}, {key}")
                    found = one_try(work, stop, whole, folder / "out", rng, server)
                    results.add(key, found)
                    for problem in found["problems"]:
                        bar.write(f"{key}: {problem}", file=sys.stderr)
                    bar.update()
    return results


def build_parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=2, metavar="N", help="tries of each kind and stop (default: 2)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of work (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the data and of the moments (default: 1)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file (default: results/interruptions.json)")
    parser.add_argument(
        "--no-fork", action="store_true", help="start each command from the beginning, which takes seconds of imports"
    )
    parser.add_argument("--fresh", action="store_true", help="make all tries anew")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where a try failed; 2 after an error of usage.
    """
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, force=True)
    try:
        if args.tries < 1:
            raise UsageError(f"--tries {args.tries}: give at least 1.")
        totals = measure(args).totals()
    except UsageError as error:
        sys.stderr.write(f"interruptions.py: error: {error}\n")
        return 2
    headers = {"kind": "kind", "stop": "stop", "tries": "tries", "failures": "failures", "not_stopped": "ended before"}
    sys.stdout.write(tabulate(totals, headers=headers, tablefmt="github") + "\n")
    return int(any(total["failures"] for total in totals))


if __name__ == "__main__":
    sys.exit(main())

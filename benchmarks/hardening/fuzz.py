"""Fuzzes whatever reads what others wrote: rows, boxes, outputs, answers, checkpoints.

Each input must end well or in an error that names itself (file, row or flag). Anything else, another exception, a hang,
a flood of memory, code run from a checkpoint, is an unnamed crash: it is written with its simplest input, and the
command ends with 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fuzzing.runner import Report, run
from narvl.provenance import provenance

RESULTS = Path(__file__).resolve().parents[2] / "results"
TARGETS = ("rows", "boxes", "collapse", "answers", "checkpoints")

# What one input may ask of the machine, beyond what python has mapped by then: above the runner's limit, so that it
# is told, and below what would take the machine down.
_SPARE_BYTES = 6 << 30


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS, help="what to fuzz (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="the first one; others follow it (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "fuzz.json",
        help="results file; what it holds of other targets stays (default: results/fuzz.json)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz the targets; return 1 where an input crashed one."""
    args = build_parser().parse_args(argv)
    logging.disable(logging.ERROR)  # each skipped row is a warning
    warnings.simplefilter("ignore")
    status = 0
    for name in args.targets:
        with tempfile.TemporaryDirectory() as folder:
            cases = importlib.import_module(f"fuzzing.{name}").build(Path(folder))
            _limit_memory()
            report = _run(name, cases, args.seconds, args.seed)
        _write(args.out, name, report, args.seed)
        sys.stdout.write(f"{name}: {report.examples:,} inputs, {len(report.outcomes)} outcomes, ")
        sys.stdout.write(f"{len(report.crashes)} unnamed crashes\n")
        for crash in report.crashes.values():
            status = 1
            sys.stdout.write(f"  {crash.error}\n    at {crash.where}\n    by {crash.example[:300]}\n")
    return status


def _run(name: str, cases: Sequence[Any], seconds: float, seed: int) -> Report:
    with tqdm(total=round(seconds), desc=name, unit="s", mininterval=1) as bar:

        def show(report: Report) -> None:
            bar.set_postfix(inputs=report.examples, crashes=len(report.crashes), refresh=False)
            bar.update(min(int(report.seconds), bar.total) - bar.n)

        return run(cases, seed, seconds, progress=show)


def _limit_memory() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _SPARE_BYTES, hard))


def _write(path: Path, name: str, report: Report, seed: int) -> None:
    """Put a target's report into the results file."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"targets": {}}
    made = provenance(seed)
    record["targets"][name] = {**report.record(), "first_seed": seed, "commit": made["commit"], "date": made["date"]}
    record["provenance"] = made
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())

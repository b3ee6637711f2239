"""What every benchmark does around its measurement: arguments, a results file that grows by cells, errors in a line."""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kit.machine import Machine, choose_device
from narvl.errors import DataError, UsageError
from narvl.provenance import provenance

RESULTS = Path(__file__).resolve().parents[3] / "results"

Main = Callable[[argparse.Namespace], None]


def build_parser(text: str | None, name: str) -> argparse.ArgumentParser:
    """Build a parser with what every benchmark takes.

    Args:
        text: the module's docstring.
        name: of the results file, without its ending.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"{name}.json", help="results file; a plot goes beside it"
    )
    parser.add_argument("--fresh", action="store_true", help="measure anew what the results file has already")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's choice)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and inputs")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure")


def positive(text: str) -> int:
    """Read a number of at least 1 (a type for argparse)."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least 1")
    return int(text)


def execute(main: Main, parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the arguments and run a benchmark.

    Returns:
        0, or 2 after an error of usage, told in one line.
    """
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, force=True)  # fairseq's import leaves it at DEBUG
    warnings.filterwarnings("ignore", category=UserWarning)  # hydra's and torch's, of nothing a user could change
    try:
        if args.threads:
            torch.set_num_threads(args.threads)
        main(args)
    except (UsageError, DataError) as error:
        sys.stderr.write(f"{parser.prog}: error: {error}\n")
        return 2
    return 0


class Results:
    """A results file: named cells, written as they are measured, so that a stopped run goes on where it was.

    Args:
        args: the benchmark's arguments; where they hold a device, it is part of the file's facts.
        settings: what all cells have in common; cells measured under other settings are not mixed with these.
    """

    def __init__(self, args: argparse.Namespace, **settings: Any) -> None:
        self.path: Path = args.out
        self.seed: int = args.seed
        self.settings = {"threads": torch.get_num_threads(), **settings}
        #: The machine's limits, for those who measure them.
        self.limits: Machine | None = None
        self.cells: dict[str, Any] = {}
        if self.path.is_file() and not args.fresh:
            self._load()

    def _load(self) -> None:
        try:
            old = json.loads(self.path.read_text(encoding="utf-8"))
            settings, self.cells = old["settings"], old["cells"]
            self.limits = Machine(**old["machine_limits"]) if "machine_limits" in old else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--out {self.path}: no results file of a benchmark ({error}). Add --fresh.") from error
        if settings != self.settings:
            raise UsageError(
                f"--out {self.path}: measured with {settings}, not {self.settings}. Give another file, or --fresh."
            )

    def __contains__(self, key: str) -> bool:
        return key in self.cells

    def add(self, key: str, cell: dict[str, Any]) -> None:
        """Add a cell and write the file."""
        made = provenance(self.seed)
        self.cells[key] = {**cell, "commit": made["commit"], "date": _today()}
        limits = {} if self.limits is None else {"machine_limits": self.limits.record()}
        record = {"settings": self.settings, **limits, "cells": self.cells, "provenance": made}
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            os.replace(partial, self.path)
        except OSError as error:
            raise UsageError(f"--out {self.path}: cannot be written ({error.strerror}). Give another path.") from error

    def wanted(self, keys: Sequence[str]) -> list[str]:
        """Return the keys that are not measured yet, and tell how many are."""
        left = [key for key in keys if key not in self]
        if len(left) < len(keys):
            sys.stderr.write(f"{self.path.name}: {len(keys) - len(left)} of {len(keys)} cells were measured before\n")
        return left


def device_of(args: argparse.Namespace) -> torch.device:
    """Return the device that ``--device`` names."""
    return choose_device(args.device)


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()

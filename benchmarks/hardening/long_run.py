"""Trains a nano model for a long time, and tells whether memory, open files and the time of an update stay flat.

fairseq-train runs as users run it, with data-loading workers, validation and checkpoints at each epoch and between, on
one thread. Memory and files are read from outside, from the system. Straight lines are fitted to what comes after the
first fifth of the updates; memory that grows shows as a slope.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from narvl.provenance import provenance
from narvl.scenes.write import Plan, write_scenes
from watching import Trend, Usage, fit, measure, step_times

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 0.2  # of the updates
WINDOWS = 20  # stretches of updates whose time is compared
#: What is fitted: title, unit, values of a sample.
SERIES = {
    "main_mb": ("memory of the trainer", "MB"),
    "workers_mb": ("memory of the workers", "MB"),
    "handles": ("open files", ""),
}


def train_command(data: Path, save_dir: Path, args: argparse.Namespace) -> list[str]:
    """Return fairseq-train's command."""
    task = ["--task", "captioning", "--patch-image-size", args.side, "--code-dict-size", 0, "--num-bins", 0]
    model = ["--arch", "narvl_nano", "--criterion", "query_ctc", "--num-queries", 24, "--label-smoothing", 0.1]
    descent = ["--optimizer", "adam", "--lr", 3e-4, "--clip-norm", 1.0, "--batch-size", args.batch]
    length = ["--max-update", args.updates, "--num-workers", args.workers, "--seed", args.seed, "--cpu"]
    saving = ["--save-dir", save_dir, "--keep-last-epochs", 2, "--keep-interval-updates", 2]
    saving += ["--save-interval-updates", max(args.updates // 10, 1)]
    logs = ["--log-format", "json", "--log-interval", args.log_interval]
    words = [data, "--user-dir", ROOT / "narvl", *task, *model, *descent, *length, *saving, *logs]
    return [sys.executable, "-m", "fairseq_cli.train", *map(str, words)]


class Log:
    """What a training says, read as it comes: when which update was told, and how often it validated and saved."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.updates: list[int] = []
        self.validations = 0
        self.checkpoints = 0
        self.epochs = 0
        self.last_lines: list[str] = []

    def read(self, stream: TextIO, bar: Any) -> None:
        """Read until the training ends."""
        for line in stream:
            self.last_lines = [*self.last_lines[-19:], line]
            if " | train_inner | {" in line:
                self.seconds.append(time.monotonic())
                self.updates.append(int(json.loads(line.split(" | train_inner | ")[1])["num_updates"]))
                bar.update(self.updates[-1] - bar.n)
            self.validations += " | valid | {" in line
            self.checkpoints += " | Saved checkpoint " in line
            self.epochs += " | end of epoch " in line


def watch(command: list[str], updates: int, interval: float) -> tuple[Log, list[float], list[Usage]]:
    """Run a training and measure it every ``interval`` seconds.

    Returns:
        Its log, and times and values of the measurements.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    path = os.environ.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)
    log, times, usages = Log(), [], []
    with (
        tqdm(total=updates, unit="update", disable=None) as bar,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout
        reader = threading.Thread(target=log.read, args=(process.stdout, bar))
        reader.start()
        try:
            while process.poll() is None:
                usage = measure(process.pid)
                if usage:
                    times.append(time.monotonic())
                    usages.append(usage)
                time.sleep(interval)
        except BaseException:
            process.kill()
            raise
        finally:
            reader.join()
    if process.returncode or not log.updates:
        raise RuntimeError(f"fairseq-train ended with {process.returncode}:\n{''.join(log.last_lines)}")
    return log, times, usages


def evaluate(log: Log, times: Sequence[float], usages: Sequence[Usage]) -> dict[str, Any]:
    """Fit lines to the samples after the warm-up, over thousands of updates.

    Returns:
        The lines by name, and the samples: the update each was taken at, and its values.
    """
    at = np.interp(times, log.seconds, log.updates)
    begin = WARM_UP * log.updates[-1]
    kept = [place for place, update in enumerate(at) if begin <= update < log.updates[-1]]
    if len(kept) < 3:
        raise RuntimeError(f"{len(kept)} samples after the warm-up: lower --interval or raise --updates")
    trends: dict[str, Trend] = {
        name: fit(at[kept] / 1000, [getattr(usages[place], name) for place in kept]) for name in SERIES
    }
    late = [place for place, update in enumerate(log.updates) if update >= begin]
    middles, medians = step_times([log.seconds[i] for i in late], [log.updates[i] for i in late], WINDOWS)
    trends["step_ms"] = fit(np.asarray(middles) / 1000, 1000 * np.asarray(medians))
    samples = [{"update": round(float(update)), **asdict(usage)} for update, usage in zip(at, usages, strict=True)]
    return {"trends": {name: asdict(trend) for name, trend in trends.items()}, "samples": samples}


def table(trends: dict[str, dict[str, float]]) -> str:
    """Lay the lines out for people."""
    titles = {**SERIES, "step_ms": ("time of an update", "ms")}
    rows = [
        [f"{title} ({unit})" if unit else title, trend["start"], trend["end"], trend["slope"], trend["error"]]
        for name, trend in trends.items()
        for title, unit in [titles[name]]
    ]
    headers = ["", "after warm-up", "at the end", "slope per 1,000 updates", "its standard error"]
    return tabulate(rows, headers=headers, floatfmt=("", ".1f", ".1f", ".3f", ".3f"), tablefmt="github")


def positive(text: str) -> int:
    """Read a number of at least 1 (a type for argparse)."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least 1")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--updates", type=positive, default=10_000, help="length of the training")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "long_run.json", help="results file")
    parser.add_argument("--scenes", type=positive, default=400, help="training scenes, of five captions each")
    parser.add_argument("--side", type=positive, default=64, help="side that images are resized to, in pixels")
    parser.add_argument("--batch", type=positive, default=4, help="batch size")
    parser.add_argument("--workers", type=int, default=2, help="data-loading workers")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two measurements")
    parser.add_argument("--log-interval", type=positive, default=10, help="updates between two lines of the log")
    parser.add_argument("--seed", type=int, default=1, help="of data, weights and order")
    parser.add_argument("--folder", type=Path, help="where data are made, and deleted (default: a temporary folder)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        data = Path(folder) / "data"
        write_scenes(Plan("captioning", scenes=(args.scenes, 20, 1), seed=args.seed), data)
        begin = time.monotonic()
        log, times, usages = watch(train_command(data, Path(folder) / "run", args), args.updates, args.interval)
    found = evaluate(log, times, usages)
    record = {
        "updates": log.updates[-1],
        "settings": {name: getattr(args, name) for name in ("scenes", "side", "batch", "workers", "interval")},
        "seconds": round(time.monotonic() - begin),
        "epochs": log.epochs,
        "validations": log.validations,
        "checkpoints": log.checkpoints,
        **found,
        "provenance": provenance(args.seed),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"{record['updates']:,} updates in {record['seconds']} s: {log.epochs} epochs, {log.validations} validations, "
        f"{log.checkpoints} checkpoints\n\n{table(found['trends'])}\n"
    )


if __name__ == "__main__":
    main()

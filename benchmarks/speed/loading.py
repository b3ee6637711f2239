"""Measures data loading: rows a second by number of workers, and what a file of a million rows costs.

Rows go the way of training: the captioning task's data set, fairseq's shuffling iterator, its workers. The photos of
the first measurement are generated JPEGs of a photo's size in pixels and bytes. The second opens a file of many small
rows: its index, its memory, its first shuffled batch, random reads.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from kit import plots, record
from kit.files import write_bpe, write_captioning
from kit.memory import METHODS, Peak, in_fresh_process, resident
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import UsageError
from narvl.evaluation.latency import spread
from narvl.tasks.captioning import CaptioningConfig, CaptioningTask

_SMALL_PHOTO = (8, 8)
_LOOKUPS = 2000


def build_task(folder: Path, side: int) -> CaptioningTask:
    """Build the task for a data folder, its training rows open."""
    task = CaptioningTask(CaptioningConfig(data=str(folder), patch_image_size=side))
    task.load_dataset("train")
    return task


def open_epoch(task: CaptioningTask, batch: int, workers: int, seed: int) -> Any:
    """Return fairseq's iterator over a shuffled epoch, as training has it."""
    iterator = task.get_batch_iterator(
        task.dataset("train"), max_sentences=batch, seed=seed, num_workers=workers, epoch=1, data_buffer_size=10
    )
    return iterator.next_epoch_itr(shuffle=True)


def load_epoch(folder: Path, side: int, batch: int, workers: int, seed: int) -> tuple[float, float]:
    """Read an epoch.

    Returns:
        Seconds to the first batch, and rows a second after it.
    """
    task = build_task(folder, side)
    start = time.perf_counter()
    gc.collect()  # the last epoch's iterator ends here, and not in a worker, which has a copy of it
    batches = iter(open_epoch(task, batch, workers, seed))
    rows = len(next(batches)["id"])
    first = time.perf_counter()
    rows = sum(len(entry["id"]) for entry in batches)
    return first - start, rows / (time.perf_counter() - first)


def open_large(folder: Path, batch: int, workers: int, seed: int) -> dict[str, Any]:
    """Open a large file as training does, in a fresh process that has its libraries loaded.

    Returns:
        Seconds and resident bytes (beyond those of the libraries) of the index and of the first shuffled batch, and
        random reads a second.
    """
    multiprocessing.set_start_method("fork", force=True)  # as in training; a fresh process has its parent's other one
    task = CaptioningTask(CaptioningConfig(data=str(folder), patch_image_size=64))
    peak = Peak(torch.device("cpu"))
    start = time.perf_counter()
    rows = TsvFile(folder / "train.tsv", COLUMNS["captioning"])
    seconds = time.perf_counter() - start
    found = {
        "rows": len(rows),
        "index_s": seconds,
        "index_bytes": resident("VmRSS") - peak.before,
        "index_peak_bytes": peak.rise(),
    }
    order = np.random.default_rng(seed).integers(0, len(rows), _LOOKUPS)
    start = time.perf_counter()
    for index in order:
        rows[int(index)]
    found["lookups_per_s"] = _LOOKUPS / (time.perf_counter() - start)
    del rows
    peak = Peak(torch.device("cpu"))
    start = time.perf_counter()
    task.load_dataset("train")
    next(iter(open_epoch(task, batch, workers, seed)))
    found["first_batch_s"] = time.perf_counter() - start
    found["first_batch_bytes"] = resident("VmRSS") - peak.before
    found["first_batch_peak_bytes"] = peak.rise()
    return found


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_loading")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2, 4], help="numbers of workers to try")
    parser.add_argument("--rows", type=record.positive, default=512, help="rows of an epoch")
    parser.add_argument("--side", type=record.positive, default=480, help="side that photos are resized to, in pixels")
    parser.add_argument(
        "--photo", nargs=2, type=record.positive, default=[640, 480], metavar=("W", "H"), help="photos' size in pixels"
    )
    parser.add_argument("--batch", type=record.positive, default=16, help="batch size")
    parser.add_argument("--rounds", type=record.positive, default=3, help="epochs, the numbers of workers taking turns")
    parser.add_argument("--large-rows", type=record.positive, default=1_000_000, help="rows of the large file")
    parser.add_argument("--folder", type=Path, help="where data are made, and deleted (default: a temporary folder)")
    return parser


def measure_workers(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Read epochs with each number of workers."""
    size = (args.photo[0], args.photo[1])
    write_captioning(folder / "train.tsv", args.rows, size, seed=args.seed)
    found: dict[int, list[tuple[float, float]]] = {workers: [] for workers in args.workers}
    for _ in range(args.rounds):
        for workers, values in found.items():
            values.append(load_epoch(folder, args.side, args.batch, workers, args.seed))
    rows = [
        {
            "workers": workers,
            "first_batch_s": spread([first for first, _ in values]),
            "rows_per_s": spread([rate for _, rate in values]),
        }
        for workers, values in found.items()
    ]
    row_bytes = (folder / "train.tsv").stat().st_size / args.rows
    return {"side": args.side, "photo": list(size), "row_bytes": row_bytes, "batch": args.batch, "rows": rows}


def measure_large(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Open a file of many small rows."""
    write_captioning(folder / "train.tsv", args.large_rows, _SMALL_PHOTO, seed=args.seed)
    found = in_fresh_process(open_large, folder, args.batch, 2, args.seed)
    return {"file_bytes": (folder / "train.tsv").stat().st_size, "batch": args.batch, **found}


def run(args: argparse.Namespace) -> None:
    """Measure what the results file lacks."""
    if min(args.workers) < 0:
        raise UsageError(f"--workers {min(args.workers)}: give 0, for the main process, or more.")
    results = record.Results(args, memory=METHODS["cpu"])
    cells = {
        f"workers {args.rows} {args.side}": measure_workers,
        f"large {args.large_rows}": measure_large,
    }
    for key in results.wanted(list(cells)):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            write_bpe(Path(folder))
            cell = cells[key](Path(folder), args)
        results.add(key, cell)
        if cells[key] is measure_workers:
            rows = [
                [row["workers"], row["rows_per_s"]["median"], row["first_batch_s"]["median"]] for row in cell["rows"]
            ]
            headers = ["workers", "rows a second", "s to the first batch"]
            sys.stdout.write(tabulate(rows, headers=headers, floatfmt=".1f", tablefmt="github") + "\n\n")
        else:
            sys.stdout.write(
                f"{cell['rows']:,} rows, {cell['file_bytes'] / 1e6:.0f} MB: index {cell['index_s']:.1f} s, "
                f"{cell['index_bytes'] / 1e6:.0f} MB resident ({cell['index_peak_bytes'] / 1e6:.0f} at its peak); "
                f"first shuffled batch after {cell['first_batch_s']:.1f} s, {cell['first_batch_bytes'] / 1e6:.0f} MB "
                f"({cell['first_batch_peak_bytes'] / 1e6:.0f}); {cell['lookups_per_s']:.0f} random reads a second\n"
            )
    plots.draw("loading", results.path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

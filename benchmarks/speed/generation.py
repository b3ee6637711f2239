"""Measures fairseq-generate from end to end: rows a second, and how much of the time is spent outside the model.

Each decoder decodes the same generated photos by the real command, in a process of its own, from a checkpoint with
random weights and the real vocabulary's size that this script writes; AR answers are held to 16 tokens. The command is
run on all rows and on one batch: the difference tells the rate without the start (imports, checkpoint, first batch).
What fairseq-generate itself says it spent decoding is the model's part.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tabulate import tabulate

from kit import plots, record
from kit.files import write_bpe, write_captioning
from kit.workloads import SIZES, WORKLOADS, build_model
from narvl.errors import UsageError
from narvl.evaluation.latency import spread
from narvl.tasks.captioning import CaptioningConfig

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = WORKLOADS["captioning"]
#: The task's flag that chooses the search of autoregressive models.
AR_SEARCH = "ar_search"

_SPENT = re.compile(r"Translated ([\d,]+) sentences .* in ([\d.]+)s")
_TIME_LIMIT_S = 3600


@dataclass(frozen=True)
class Command:
    """A way to call fairseq-generate: the model's family, for people, and flags."""

    family: str
    label: str
    flags: tuple[str, ...]


_LENGTHS = ("--min-len", str(WORKLOAD.answer), "--max-len-b", str(WORKLOAD.answer))
_SEARCH = ("--no-repeat-ngram-size", str(WORKLOAD.block), *_LENGTHS)
_BEAM, _GREEDY = ("--beam", "5", *_SEARCH), ("--beam", "1", *_SEARCH)
_CHOICE = f"--{AR_SEARCH.replace('_', '-')}"

#: Speed-ups are ratios to the first.
COMMANDS = {
    "ar5-fairseq": Command("ofa", "AR beam 5, fairseq", (*_BEAM, _CHOICE, "fairseq")),
    "ar5-optimised": Command("ofa", "AR beam 5, optimised", (*_BEAM, _CHOICE, "optimised")),
    "ar1-optimised": Command("ofa", "AR greedy, optimised", (*_GREEDY, _CHOICE, "optimised")),
    "narvl": Command("narvl", "NARVL greedy", ()),
    "narvl-ctc5": Command("narvl", "NARVL CTC beam 5", ("--ctc-beam", "5")),
}


@dataclass(frozen=True)
class Finished:
    """A call that has ended: seconds altogether, seconds spent decoding, rows."""

    seconds: float
    decoding: float
    rows: int


@dataclass(frozen=True)
class Runs:
    """A call on all rows, and one on the first batch alone."""

    whole: Finished
    first: Finished

    @property
    def rate(self) -> float | None:
        """Rows a second without the start; None where the rows are too few to tell."""
        seconds = self.whole.seconds - self.first.seconds
        return (self.whole.rows - self.first.rows) / seconds if seconds > 0 else None

    @property
    def outside(self) -> float | None:
        """Share of the time outside decoding, without the start; None where the rows are too few to tell."""
        seconds = self.whole.seconds - self.first.seconds
        decoding = self.whole.decoding - self.first.decoding
        return 1 - decoding / seconds if 0 < decoding <= seconds else None


def spread_of(values: Iterable[float | None]) -> dict[str, float] | None:
    """Return the median and quartiles of what could be told."""
    told = [value for value in values if value is not None]
    return spread(told) if told else None


def commands() -> dict[str, Command]:
    """Return the commands of this version: without a choice of the search, fairseq's is the only one."""
    if any(entry.name == AR_SEARCH for entry in fields(CaptioningConfig)):
        return COMMANDS
    plain = {name: command for name, command in COMMANDS.items() if "optimised" not in command.flags}
    return {
        name: Command(command.family, command.label, _BEAM if command.family == "ofa" else command.flags)
        for name, command in plain.items()
    }


def write_checkpoint(path: Path, data: Path, family: str, size: str, side: int, seed: int) -> None:
    """Write a checkpoint of random weights as fairseq-train would."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    criterion = "query_ctc" if family == "narvl" else "label_smoothed_cross_entropy"
    flags = [str(data), "--task", "captioning", "--arch", f"{family}_{size}", "--criterion", criterion]
    flags += ["--patch-image-size", str(side)]
    if family == "narvl":
        flags += ["--num-queries", str(WORKLOAD.queries)]
    args = options.parse_args_and_arch(options.get_training_parser(), flags)
    cfg = OmegaConf.to_container(convert_namespace_to_omegaconf(args), resolve=True, enum_to_str=True)
    model = build_model(family, size, WORKLOAD, torch.device("cpu"), seed)
    history = [{"criterion_name": criterion, "optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}]
    state = {"args": None, "cfg": cfg, "model": model.state_dict(), "criterion": None, "optimizer_history": history}
    torch.save({**state, "task_state": {}, "extra_state": {}}, path)


def generate(folder: Path, checkpoint: Path, command: Command, rows: Path | None, args: argparse.Namespace) -> Finished:
    """Run fairseq-generate.

    Args:
        folder: the data.
        checkpoint: the model.
        command: how to decode.
        rows: file of the rows to decode; None for all.
        args: the benchmark's arguments.

    Raises:
        UsageError: the command failed.
    """
    call = [sys.executable, "-m", "fairseq_cli.generate", str(folder), "--user-dir", str(ROOT / "narvl")]
    call += ["--task", "captioning", "--path", str(checkpoint), "--gen-subset", "test"]
    call += ["--patch-image-size", str(args.side), "--batch-size", str(args.batch), "--num-workers", str(args.workers)]
    call += ["--distributed-world-size", "1"]
    call += ["--only-rows", str(rows)] if rows else []
    call += {"cpu": ["--cpu"], "cuda": []}[args.device] + (["--fp16"] if args.fp16 else [])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"LOGLEVEL": "INFO", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    start = time.perf_counter()
    done = subprocess.run(
        [*call, *command.flags], env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
    )
    seconds = time.perf_counter() - start
    found = _SPENT.search(done.stdout + done.stderr)
    if done.returncode or found is None:
        raise UsageError(f"fairseq-generate failed:\n{done.stderr[-2000:]}")
    return Finished(seconds, float(found[2]), int(found[1].replace(",", "")))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_generation")
    record.add_device(parser)
    parser.add_argument("--fp16", action="store_true", help="half precision (needs --device cuda)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny"], help="model sizes")
    parser.add_argument("--side", type=record.positive, default=384, help="image side, in pixels")
    parser.add_argument("--rows", type=record.positive, default=64, help="rows to decode")
    parser.add_argument("--batch", type=record.positive, default=8, help="batch size")
    parser.add_argument("--workers", type=int, default=1, help="data-loading workers; 0 for the main process")
    parser.add_argument("--rounds", type=record.positive, default=3, help="rounds, the decoders taking turns")
    return parser


def measure_size(size: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run every command on generated rows."""
    chosen = commands()
    runs: dict[str, list[Runs]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bpe(folder)
        write_captioning(folder / "test.tsv", args.rows, (640, 480), seed=args.seed)
        few = folder / "few.txt"
        few.write_text("".join(f"{row}\n" for row in range(args.batch)), encoding="ascii")
        for family in {command.family for command in chosen.values()}:
            write_checkpoint(folder / f"{family}.pt", folder, family, size, args.side, args.seed)
        for _ in range(args.rounds):
            for key, command in chosen.items():
                checkpoint = folder / f"{command.family}.pt"
                whole, first = (generate(folder, checkpoint, command, rows, args) for rows in (None, few))
                if whole.rows != args.rows:
                    raise UsageError(f"fairseq-generate decoded {whole.rows} of {args.rows} rows.")
                runs[key].append(Runs(whole, first))
    base = next(iter(runs.values()))
    rows = [
        {
            "decoder": key,
            "label": chosen[key].label,
            "seconds": spread([run.whole.seconds for run in own]),
            "one_batch_s": spread([run.first.seconds for run in own]),
            "rows_per_s": spread([run.whole.rows / run.whole.seconds for run in own]),
            "rows_per_s_after_start": spread_of(run.rate for run in own),
            "outside_decoding": spread([1 - run.whole.decoding / run.whole.seconds for run in own]),
            "outside_decoding_after_start": spread_of(run.outside for run in own),
            "speedup": spread([first.whole.seconds / run.whole.seconds for first, run in zip(base, own, strict=True)]),
            "speedup_after_start": spread_of(
                run.rate / first.rate if run.rate and first.rate else None for first, run in zip(base, own, strict=True)
            ),
        }
        for key, own in runs.items()
    ]
    return {"size": size, "side": args.side, "rows_decoded": args.rows, "batch": args.batch, "rows": rows}


def run(args: argparse.Namespace) -> None:
    """Run every size that the results file lacks."""
    device = record.device_of(args)
    if args.fp16 and device.type != "cuda":
        raise UsageError("--fp16: needs --device cuda. Leave it out on a CPU.")
    if args.rows <= args.batch:
        raise UsageError(f"--rows {args.rows}: one batch tells no rate. Give more than --batch {args.batch}.")
    results = record.Results(args, device=args.device, fp16=args.fp16, workers=args.workers)
    cells = {f"{size} {args.side} {args.rows} {args.batch}": size for size in args.sizes}
    for key in results.wanted(list(cells)):
        cell = measure_size(cells[key], args)
        results.add(key, cell)
        columns = ("rows_per_s", "rows_per_s_after_start", "outside_decoding_after_start", "one_batch_s", "speedup")
        rows = [
            [row["label"], *(row[column]["median"] if row[column] else None for column in columns)]
            for row in cell["rows"]
        ]
        headers = [key, "rows a second", "after the start", "outside decoding", "s for one batch", "speed-up"]
        sys.stdout.write(
            tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="github", missingval="too few rows") + "\n\n"
        )
    plots.draw("generation", results.path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

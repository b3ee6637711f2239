"""Times decoding by model size, image side, batch and task, the encoder apart, beside the floor (see floor.py).

The decoders: AR beam 5 and greedy, by fairseq's search and by the optimised one; NARVL greedy and by CTC beam search.
Weights are random, the vocabulary has its real size, V = 59,457, and AR decoders are held to the length of the task's
answers. Decoders take turns; every figure is a median over rounds, every ratio the median of the rounds' ratios.
On a GPU:
  python benchmarks/speed/latency.py --device cuda --dtype bfloat16 --sizes base huge --sides 480 --batches 1 8 64
and once more with --inference-compile cuda-graphs and another --out.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from tabulate import tabulate

from kit import plots, record
from kit.counting import count_decoder, count_encoder
from kit.decoders import DECODERS
from kit.machine import Machine, measure_machine
from kit.shapes import add_shapes
from kit.workloads import DTYPES, WORKLOADS, Workload, build_model, freeze, make_batch, prepare_for_inference
from narvl.errors import UsageError
from narvl.evaluation.latency import Contender, measure, summarise
from narvl.models._compile import COMPILE_MODES, check_compile
from narvl.models._precision import PRECISIONS

_FEWEST_ROUNDS = 3


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_latency")
    record.add_device(parser)
    parser.add_argument(
        "--dtype",
        choices=PRECISIONS,
        default="float32",
        help="what the models compute with (--inference-precision); the floor beside int8 is float32's",
    )
    add_shapes(parser, sizes=["tiny", "base"], sides=[384], batches=[1])
    parser.add_argument("--tasks", nargs="+", choices=tuple(WORKLOADS), default=list(WORKLOADS), help="tasks")
    parser.add_argument(
        "--decoders", nargs="+", choices=tuple(DECODERS), help="decoders (default: all that this version has)"
    )
    parser.add_argument("--rounds", type=record.positive, default=9, help="rounds that count")
    parser.add_argument(
        "--budget",
        type=record.positive,
        default=120,
        help=f"seconds that a cell's rounds may take; long ones get fewer, but {_FEWEST_ROUNDS} at least",
    )
    parser.add_argument(
        "--inference-compile",
        choices=COMPILE_MODES,
        default="none",
        help="compile the encoder, and NARVL's decoder (AR steps, ever of other shapes, stay as they are)",
    )
    return parser


def chosen_decoders(names: list[str] | None) -> list[str]:
    """Return the decoders to time.

    Raises:
        UsageError: a decoder was asked for that this version lacks.
    """
    missing = [name for name, decoder in DECODERS.items() if decoder.build is None]
    for name in names or ():
        if name in missing:
            raise UsageError(f"--decoders {name}: this version has no such decoder. Leave it out.")
    return names or [name for name in DECODERS if name not in missing]


def counted_dtype(args: argparse.Namespace) -> torch.dtype:
    """Return the dtype whose limits make the floor."""
    return DTYPES.get(args.dtype, torch.float32)


def build_contenders(
    names: list[str], size: str, workload: Workload, side: int, device: torch.device, args: argparse.Namespace
) -> tuple[list[Contender], dict[str, list[Any]]]:
    """Build the models and decoders of a cell.

    Returns:
        The contenders, and for each the parts of its work: the encoder's two, then the decoder's two.
    """
    contenders: list[Contender] = []
    work: dict[str, list[Any]] = {}
    encoder: dict[str, Any] = {}
    encoded = None
    dtype = counted_dtype(args)
    for family, prepared in (("ofa", False), ("ofa", True), ("narvl", True)):
        mine = [name for name in names if (DECODERS[name].family, DECODERS[name].prepared) == (family, prepared)]
        mine = [name for name in mine if not (DECODERS[name].ctc and workload.alignment != "ctc")]
        if not mine:
            continue
        model = freeze(build_model(family, size, workload, device, args.seed))
        if not encoder:
            encoder, encoded = count_encoder(model, workload, side, device, dtype)
        for name in mine:
            decoder = DECODERS[name]
            counted = count_decoder(model, workload, encoded, decoder.beam, decoder.announced, dtype)
            work[name] = [*encoder.values(), *counted.values()]
        if not prepared:
            model.to(counted_dtype(args))
        else:
            prepare_for_inference(model, args.dtype, args.inference_compile)
        for name in mine:
            build = DECODERS[name].build
            assert build is not None
            generator = build(model, workload)

            def decode(batch: dict[str, Any], model: Any = model, generator: Any = generator) -> None:
                generator.generate([model], batch)

            contenders.append(Contender(name, DECODERS[name].label, model.encoder, decode))
    return sorted(contenders, key=lambda contender: list(DECODERS).index(contender.name)), work


def measure_cell(
    names: list[str],
    size: str,
    side: int,
    batch: int,
    task: str,
    device: torch.device,
    machine: Machine,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Time the decoders on one configuration."""
    workload = WORKLOADS[task]
    contenders, work = build_contenders(names, size, workload, side, device, args)
    inputs = make_batch(workload, batch, side, device, args.seed)
    # Kernels are chosen, biases cached, graphs compiled and captured: on CPUs whatever the batch.
    warming = inputs if device.type == "cuda" else make_batch(workload, 1, side, device, args.seed)
    measure(contenders, [warming], 1, device)
    start = time.perf_counter()
    measure(contenders, [inputs], 0, device)
    seconds = time.perf_counter() - start
    rounds = min(args.rounds, max(_FEWEST_ROUNDS, int(args.budget / seconds)))
    measure(contenders, [inputs] * (rounds - 1), 0, device)
    rows = summarise(contenders)
    for row, contender in zip(rows, contenders, strict=True):
        floors = [part.floor_ms(batch, machine) for part in work[contender.name]]
        row["encoder_floor_ms"], row["decoder_floor_ms"] = sum(floors[:2]), sum(floors[2:])
        row["gflops"] = sum(part.flops for part in work[contender.name]) * batch / 1e9
        row["encoder_rounds_ms"] = [round(value, 3) for value in contender.encoder_ms]
    return {"size": size, "side": side, "batch": batch, "task": task, "answer": workload.answer, "rows": rows}


def run(args: argparse.Namespace) -> None:
    """Time every configuration that the results file lacks."""
    device, names = record.device_of(args), chosen_decoders(args.decoders)
    check_compile(args.inference_compile, args.dtype, device)
    results = record.Results(args, device=args.device, dtype=args.dtype, compiled=args.inference_compile)
    cells = {
        f"{size} {side} {task} {batch}": (size, side, batch, task)
        for size, side, task, batch in product(args.sizes, args.sides, args.tasks, args.batches)
    }
    for key in results.wanted(list(cells)):
        machine = results.limits = measure_machine(device, counted_dtype(args), results.limits)
        cell = measure_cell(names, *cells[key], device, machine, args)
        results.add(key, cell)
        columns = ["decoding", "median_ms", "encoder_ms", "decoder_ms", "encoder_floor_ms", "decoder_floor_ms"]
        rows = [[row[column] for column in [*columns, "speedup", "samples"]] for row in cell["rows"]]
        headers = [key, "ms", "encoder", "decoder", "encoder's floor", "decoder's floor", "speed-up", "rounds"]
        sys.stdout.write(tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="github") + "\n\n")
        gc.collect()
    plots.draw("latency", results.path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

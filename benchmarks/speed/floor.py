"""Measures the machine's limits, counts the models' work by part, and tells the time that nothing can beat.

The floor of a part is the larger of its operations over the best matrix rate and its bytes over the read bandwidth.
Only what a way to decode cannot do without counts: products, convolutions and attention, as torch's own counter finds
them in the real modules; weights, the encoder's states, and the keys and values of autoregressive steps, read once a
pass. fairseq's search computes every symbol and projects the states: that counts as its own.
A machine whose caches hold the weights of a small model can be faster than its floor of bytes; convolution algorithms
that save multiplications, than its floor of operations.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tabulate import tabulate

from kit import record
from kit.counting import Part, count_decoder, count_encoder
from kit.decoders import DECODERS
from kit.machine import measure_machine
from kit.shapes import add_shapes
from kit.workloads import DTYPES, WORKLOADS, build_model, freeze


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_floor")
    record.add_device(parser)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="of weights and products")
    add_shapes(parser, sizes=["tiny", "base"], sides=[384, 480], batches=None)
    parser.add_argument("--tasks", nargs="+", choices=tuple(WORKLOADS), default=list(WORKLOADS), help="tasks")
    return parser


def run(args: argparse.Namespace) -> None:
    """Count every configuration that the results file lacks."""
    device, dtype = record.device_of(args), DTYPES[args.dtype]
    results = record.Results(args, device=args.device, dtype=args.dtype)
    cells = {
        f"{size} {side} {task}": (size, side, task) for size in args.sizes for side in args.sides for task in args.tasks
    }
    for key in results.wanted(list(cells)):
        machine = results.limits = measure_machine(device, dtype, results.limits)
        size, side, task = cells[key]
        workload = WORKLOADS[task]
        decoders: dict[str, dict[str, Part]] = {}
        encoder: dict[str, Part] = {}
        for family in ("narvl", "ofa"):
            model = freeze(build_model(family, size, workload, device, args.seed))
            if not encoder:
                encoder, encoded = count_encoder(model, workload, side, device, dtype)
            alike: dict[tuple[int, bool], dict[str, Part]] = {}
            for decoder in (decoder for decoder in DECODERS.values() if decoder.family == family):
                how = decoder.beam, decoder.announced
                if how not in alike:
                    alike[how] = count_decoder(model, workload, encoded, *how, dtype=dtype)
                decoders[decoder.label] = alike[how]
        cell = {
            "size": size,
            "side": side,
            "task": task,
            "parts": {part: work.record() for part, work in encoder.items()},
            "decoders": {
                name: {part: work.record() for part, work in parts.items()} for name, parts in decoders.items()
            },
            "floor_ms": {
                name: sum(part.floor_ms(1, machine) for part in [*encoder.values(), *parts.values()])
                for name, parts in decoders.items()
            },
        }
        results.add(key, cell)
        rows = list(encoder.items())
        rows += [(f"{name}: {part}", work) for name, parts in decoders.items() for part, work in parts.items()]
        table = [[n, w.flops / 1e9, w.fixed_bytes / 1e6, w.sample_bytes / 1e6, w.floor_ms(1, machine)] for n, w in rows]
        headers = [key, "GFLOP a sample", "MB of weights", "MB a sample", "floor ms, batch 1"]
        sys.stdout.write(tabulate(table, headers=headers, floatfmt=".2f", tablefmt="github") + "\n\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

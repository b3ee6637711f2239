"""Compares Q-CTC over K references of an image with K losses of one reference each, as rows that repeat the image have.

Time of forward and backward together. Each of the separate losses has logits of its own, and overwrites them as
training does; the pass of the model that a repeated image costs as well is not in the figures. Gradients are taken with
respect to the logits, the output of another operation, as in training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from kit import record
from kit.workloads import DTYPES
from loss import make_inputs, make_logits
from narvl.criterions.query_ctc import References, marginal_query_ctc_loss, query_ctc_loss
from narvl.evaluation.latency import Contender, measure, summarise


def make_references(references: int, batch: int, length: int, vocabulary: int, device: torch.device) -> References:
    """Return random references of every sample, of one length."""
    random = torch.Generator().manual_seed(references)
    tokens = torch.randint(vocabulary - 1, (batch, references, length), generator=random).to(device)
    lengths = torch.full((batch, references), length, device=device)
    return References(tokens, lengths, torch.ones(batch, references, device=device))


def backward(name: str, logits: Sequence[Tensor], references: References) -> None:
    """Compute losses and their gradients, each with respect to its logits."""
    blank = logits[0].size(-1) - 1
    for place, own in enumerate(logits):
        if name == "together":
            found = marginal_query_ctc_loss(own, references, blank, overwrite=True)
        else:
            tokens, lengths = references.tokens[:, place], references.lengths[:, place]
            found = query_ctc_loss(own, tokens, lengths, blank, overwrite=True)
        torch.autograd.grad(found.loss.sum(), own)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_references")
    record.add_device(parser)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="of the logits")
    parser.add_argument("--references", nargs="+", type=record.positive, default=[5, 10], help="references K")
    parser.add_argument("--batches", nargs="+", type=record.positive, default=[8, 32], help="batch sizes")
    parser.add_argument("--queries", type=record.positive, default=20, help="number of queries N")
    parser.add_argument("--vocabulary", type=record.positive, default=59458, help="classes V + 1, the blank included")
    parser.add_argument("--rounds", type=record.positive, default=9, help="rounds that count")
    return parser


def measure_cell(references: int, batch: int, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Compare the losses at one size."""
    dtype = DTYPES[args.dtype]
    features, table, target, _ = make_inputs(args.queries, batch, args.vocabulary, device, dtype, args.seed)
    tables = make_references(references, batch, target.size(1), args.vocabulary, device)

    def run(logits: Sequence[Tensor], name: str) -> None:
        backward(name, logits, tables)

    def logits(_: object, count: int) -> list[Tensor]:
        return [make_logits(features, table) for _ in range(count)]

    counts = {"separate": references, "together": 1, "one reference": 1}
    contenders = [
        Contender(name, "", None, partial(run, name=name), partial(logits, count=count))
        for name, count in counts.items()
    ]
    measure(contenders, [None] * (1 + args.rounds), 1, device)
    keys = ("name", "median_ms", "median_ms_q1", "median_ms_q3", "speedup", "speedup_q1", "speedup_q3", "samples")
    rows = [{key: found[key] for key in keys} for found in summarise(contenders)]
    return {"references": references, "batch": batch, "queries": args.queries, "rows": rows}


def run(args: argparse.Namespace) -> None:
    """Compare the losses at every size that the results file lacks."""
    device = record.device_of(args)
    results = record.Results(args, device=args.device, dtype=args.dtype, vocabulary=args.vocabulary)
    cells = {
        f"K {references} B {batch} N {args.queries}": (references, batch)
        for references, batch in product(args.references, args.batches)
    }
    for key in results.wanted(list(cells)):
        cell = measure_cell(*cells[key], device, args)
        results.add(key, cell)
        rows = [[row["name"], row["median_ms"], row["speedup"]] for row in cell["rows"]]
        table = tabulate(rows, headers=[key, "ms", "speed-up"], floatfmt=".2f", tablefmt="github")
        sys.stdout.write(f"{table}\n\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

"""Compares the Q-CTC loss with the plain one: log_softmax, then torch's ctc_loss over the whole vocabulary.

Time of forward and backward together, peak memory beyond the logits, and how far the gradients differ. The logits are
the output of another operation, as in training, and the gradient is taken with respect to them. The floor reads the
logits twice and writes the gradient once, at the measured bandwidth.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from kit import plots, record
from kit.machine import Machine, choose_device, measure_machine
from kit.memory import METHODS, Peak, available, in_fresh_process
from kit.workloads import DTYPES
from narvl.criterions.query_ctc import query_ctc_loss
from narvl.evaluation.latency import Contender, measure, summarise

_ANSWER = 17  # tokens of a target, </s> included
_WIDTH = 8  # of the product whose output the logits are: narrow, so that it takes no time and no memory
_FEWEST_ROUNDS = 3
# Copies of the logits that the plain loss makes, its own included; the next cell must fit in the memory that is free.
_PLAIN_COPIES = 6


def plain_loss(logits: Tensor, target: Tensor, lengths: Tensor, blank: int, label_smoothing: float) -> Tensor:
    """Compute the Q-CTC loss as its formula reads (B,): the twin of ``query_ctc_loss`` for reachable targets."""
    log_probs = F.log_softmax(logits.float(), dim=-1)
    queries = torch.full_like(lengths, logits.size(1))
    nll = F.ctc_loss(log_probs.transpose(0, 1), target, queries, lengths, blank=blank, reduction="none") / lengths
    return (1 - label_smoothing) * nll - label_smoothing * log_probs.mean(dim=(1, 2))


def our_loss(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
    """Compute the Q-CTC loss as training does (B,)."""
    return query_ctc_loss(logits, *arguments, **options).loss


#: The first is what speed-ups are ratios to.
LOSSES: dict[str, Callable[..., Tensor]] = {"plain": plain_loss, "ours": our_loss}
if "overwrite" in inspect.signature(query_ctc_loss).parameters:
    LOSSES["ours, in place"] = partial(our_loss, overwrite=True)


def make_inputs(
    queries: int, batch: int, vocabulary: int, device: torch.device, dtype: torch.dtype, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the logits are the product of (B, N, 8) and (V, 8), targets (B, L) and their lengths (B,)."""
    random = torch.Generator().manual_seed(seed)
    length = min(_ANSWER, max(queries // 2, 1))
    features = torch.randn(batch, queries, _WIDTH, generator=random).to(device, dtype)
    table = torch.randn(vocabulary, _WIDTH, generator=random).to(device, dtype)
    target = torch.randint(vocabulary - 1, (batch, length), generator=random).to(device)
    return features.requires_grad_(), table.requires_grad_(), target, torch.full((batch,), length, device=device)


def make_logits(features: Tensor, table: Tensor) -> Tensor:
    """Return logits (B, N, V) that autograd knows as an operation's output."""
    return F.linear(features, table)


def gradient(name: str, logits: Tensor, target: Tensor, lengths: Tensor, smoothing: float) -> Tensor:
    """Compute a loss and its gradient with respect to the logits."""
    loss = LOSSES[name](logits, target, lengths, logits.size(-1) - 1, label_smoothing=smoothing)
    return torch.autograd.grad(loss.sum(), logits)[0]


def peak_memory(
    name: str, queries: int, batch: int, vocabulary: int, smoothing: float, device_name: str, dtype: str
) -> int:
    """Return the peak bytes beyond the logits; to be called in a fresh process."""
    device = choose_device(device_name)
    for size in ((4, 1, 64), (queries, batch, vocabulary)):  # the first loads the libraries
        features, table, target, lengths = make_inputs(*size, device, DTYPES[dtype], seed=1)
        logits = make_logits(features, table)
        peak = Peak(device)
        gradient(name, logits, target, lengths, smoothing)
        rise = peak.rise()
    return rise


def difference(queries: int, vocabulary: int, smoothing: float, device: torch.device, seed: int) -> dict[str, float]:
    """Return how far each loss's gradient is from the plain one's, as a share of its largest value, in float32."""
    features, table, target, lengths = make_inputs(queries, 2, vocabulary, device, torch.float32, seed)
    plain, *others = (
        gradient(name, make_logits(features, table), target, lengths, smoothing).clone() for name in LOSSES
    )
    largest = plain.abs().max()
    return {
        name: float((other - plain).abs().max() / largest) for name, other in zip([*LOSSES][1:], others, strict=True)
    }


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_loss")
    record.add_device(parser)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="of the logits")
    parser.add_argument("--queries", nargs="+", type=record.positive, default=[20, 100], help="numbers of queries N")
    parser.add_argument("--batches", nargs="+", type=record.positive, default=[1, 8, 32], help="batch sizes")
    parser.add_argument("--vocabulary", type=record.positive, default=59458, help="classes V + 1, the blank included")
    parser.add_argument("--smoothings", nargs="+", type=float, default=[0.0, 0.1], help="label smoothing")
    parser.add_argument("--rounds", type=record.positive, default=9, help="rounds that count")
    parser.add_argument("--budget", type=record.positive, default=60, help="seconds that a cell's rounds may take")
    return parser


def measure_cell(
    queries: int, batch: int, smoothing: float, device: torch.device, machine: Machine, args: argparse.Namespace
) -> dict[str, Any]:
    """Compare the losses at one size."""
    dtype = DTYPES[args.dtype]
    features, table, target, lengths = make_inputs(queries, batch, args.vocabulary, device, dtype, args.seed)

    def run(logits: Tensor, name: str) -> None:
        gradient(name, logits, target, lengths, smoothing)

    def logits(_: object) -> Tensor:
        return make_logits(features, table)

    contenders = [Contender(name, "", None, partial(run, name=name), logits) for name in LOSSES]
    measure(contenders, [None] * 2, 1, device)
    seconds = sum(contender.total_ms[0] for contender in contenders) / 1000
    rounds = min(args.rounds, max(_FEWEST_ROUNDS, int(args.budget / seconds)))
    measure(contenders, [None] * (rounds - 1), 0, device)
    size = batch * queries * args.vocabulary * features.element_size()
    gradients = difference(queries, args.vocabulary, smoothing, device, args.seed)
    rows = []
    for found in summarise(contenders):
        name = found["name"]
        where = (queries, batch, args.vocabulary, smoothing, args.device, args.dtype)
        rows.append(
            {
                "loss": name,
                **{key: found[key] for key in ("median_ms", "median_ms_q1", "median_ms_q3")},
                **{key: found[key] for key in ("speedup", "speedup_q1", "speedup_q3", "samples")},
                "peak_bytes": in_fresh_process(peak_memory, name, *where),
                "gradient_difference": gradients.get(name, 0.0),
            }
        )
    floor = 1000 * size * (2 / machine.read + 1 / machine.write)
    what = {"queries": queries, "batch": batch, "label_smoothing": smoothing, "vocabulary": args.vocabulary}
    return {**what, "logits_bytes": size, "floor_ms": floor, "rows": rows}


def run(args: argparse.Namespace) -> None:
    """Compare the losses at every size that the results file lacks."""
    device = record.device_of(args)
    results = record.Results(args, device=args.device, dtype=args.dtype, memory=METHODS[args.device])
    cells = {
        f"N {queries} B {batch} V {args.vocabulary} e {smoothing}": (queries, batch, smoothing)
        for queries, batch, smoothing in product(args.queries, args.batches, args.smoothings)
    }
    for key in results.wanted(list(cells)):
        machine = results.limits = measure_machine(device, torch.float32, results.limits)
        queries, batch, _ = cells[key]
        needed = _PLAIN_COPIES * 4 * batch * queries * args.vocabulary
        if args.device == "cpu" and needed > available():
            sys.stderr.write(f"{key}: skipped, the plain loss needs about {needed / 1e9:.0f} GB of free memory\n")
            continue
        cell = measure_cell(*cells[key], device, machine, args)
        results.add(key, cell)
        rows = [
            [row["loss"], row["median_ms"], row["speedup"], row["peak_bytes"] / 1e6, row["gradient_difference"]]
            for row in cell["rows"]
        ]
        headers = [key, "ms", "speed-up", "MB beyond the logits", "gradient's difference"]
        sys.stdout.write(tabulate(rows, headers=headers, floatfmt=(".2f",) * 4 + (".1e",), tablefmt="github"))
        sys.stdout.write(f"\nfloor {cell['floor_ms']:.2f} ms, logits {cell['logits_bytes'] / 1e6:.0f} MB\n\n")
    plots.draw("loss", results.path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

"""The configurations that a benchmark of whole models measures: sizes, image sides and batch sizes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product

from kit.record import positive
from kit.workloads import SIZES


def add_shapes(
    parser: argparse.ArgumentParser, sizes: Sequence[str], sides: Sequence[int], batches: Sequence[int] | None
) -> None:
    """Add ``--sizes``, ``--sides`` and ``--batches``.

    Args:
        parser: of the benchmark.
        sizes: default.
        sides: default.
        batches: default; None where a batch's size does not matter.
    """
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(sizes), help="model sizes")
    parser.add_argument("--sides", nargs="+", type=positive, default=list(sides), help="image sides, in pixels")
    if batches is not None:
        parser.add_argument("--batches", nargs="+", type=positive, default=list(batches), help="batch sizes")


def shapes(args: argparse.Namespace) -> dict[str, tuple[str, int, int]]:
    """Return every size, side and batch size, by the name of its cell."""
    chosen = product(args.sizes, args.sides, args.batches)
    return {f"{size} {side} {batch}": (size, side, batch) for size, side, batch in chosen}

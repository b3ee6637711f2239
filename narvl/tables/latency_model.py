"""Predicts latency from work: operations, bytes and passes, with rates fitted on half of the measured points.

A part of the work takes F/R + M/W + P c + d milliseconds, for F operations, M bytes read (weights a pass, keys and
values or states a sample) and P passes through a layer: an autoregressive decoder passes all of its layers at each
step, the encoder and a parallel decoder pass them once. R, W, c and d are the machine's and the search's, one set
for the encoder, and one for each way to decode. Errors are relative, and so is the fit (non-negative least squares).

Usage: python -m narvl.tables.latency_model --latency FILE --floor FILE --out FILE
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from narvl.errors import DataError
from narvl.models._config import PRESETS

#: A prediction within this share of the measurement is good.
TOLERANCE = 0.2

ENCODER = "encoder"
#: To each way to decode that is measured (benchmarks/speed/latency.py), whose work it is (benchmarks/speed/floor.py).
_WORK = {
    "AR beam 5, fairseq": "AR beam 5",
    "AR beam 5, optimised": "AR beam 5",
    "AR greedy, optimised": "AR greedy",
    "NARVL greedy": "NARVL",
}


@dataclass(frozen=True)
class Point:
    """A measurement and the work behind it.

    Attributes:
        flops: operations.
        read: bytes.
        passes: layers of the encoder, or passes times layers of the decoder.
        ms: measured milliseconds.
    """

    flops: float
    read: float
    passes: float
    ms: float

    @property
    def features(self) -> list[float]:
        """What coefficients multiply: GFLOP, GB, passes, one."""
        return [self.flops / 1e9, self.read / 1e9, self.passes, 1.0]


@dataclass(frozen=True)
class Fit:
    """What was fitted: milliseconds a GFLOP, a GB, a layer's pass, and once."""

    coefficients: npt.NDArray[np.float64]

    def ms(self, point: Point) -> float:
        """Predict a measurement."""
        return float(np.dot(point.features, self.coefficients))

    def error(self, point: Point) -> float:
        """Return the prediction's relative error."""
        return self.ms(point) / point.ms - 1


def fit(points: Sequence[Point]) -> Fit:
    """Fit the coefficients, none below 0, to the least squares of relative errors."""
    features = np.array([point.features for point in points])
    times = np.array([point.ms for point in points])
    return Fit(nnls(features / times[:, None], np.ones(len(points)))[0])


def split(points: Sequence[Point], seed: int) -> tuple[list[Point], list[Point]]:
    """Divide points by chance into halves: to fit, and held back."""
    order = np.random.default_rng(seed).permutation(len(points))
    half = (len(points) + 1) // 2
    return [points[place] for place in order[:half]], [points[place] for place in order[half:]]


def read_points(latency: Path, floor: Path) -> dict[str, list[Point]]:
    """Read what was measured and the work behind it: the encoder's points, and those of each way to decode.

    Raises:
        DataError: a measurement has no counted work.
    """
    measured, counted = (json.loads(path.read_text(encoding="utf-8"))["cells"] for path in (latency, floor))
    points: dict[str, list[Point]] = {ENCODER: [], **{decoding: [] for decoding in _WORK}}
    for cell in measured.values():
        key = f"{cell['size']} {cell['side']} {cell['task']}"
        if key not in counted:
            fix = f"Count it: python benchmarks/speed/floor.py --sizes {cell['size']}"
            raise DataError(f"{floor}: no work of {key}. {fix}")
        batch, shape = cell["batch"], PRESETS[cell["size"]]
        for row in cell["rows"]:
            if row["decoding"] not in _WORK:
                continue
            steps = 1 if row["decoding"].startswith("NARVL") else cell["answer"] + 1
            parts = counted[key]["decoders"][_WORK[row["decoding"]]].values()
            layers = steps * shape["decoder_layers"]
            points[row["decoding"]].append(_point(parts, batch, layers, row["decoder_ms"]))
            if row["decoding"].startswith("NARVL"):
                parts = counted[key]["parts"].values()
                points[ENCODER].append(_point(parts, batch, shape["encoder_layers"], row["encoder_ms"]))
    return points


def _point(parts: Collection[dict[str, float]], batch: int, passes: int, ms: float) -> Point:
    flops = batch * sum(part["flops"] for part in parts)
    read = sum(part["fixed_bytes"] + batch * part["sample_bytes"] for part in parts)
    return Point(flops, read, passes, ms)


def check(points: Sequence[Point], seed: int) -> dict[str, Any]:
    """Fit on half of the points, and predict the rest."""
    fitted, held_back = split(points, seed)
    found = fit(fitted)
    errors = [abs(found.error(point)) for point in held_back]
    gflop, gigabyte, layer, once = found.coefficients
    return {
        "held-back points": float(len(held_back)),
        "median error (%)": 100 * statistics.median(errors),
        "largest error (%)": 100 * max(errors),
        "within 20% (%)": 100 * sum(error <= TOLERANCE for error in errors) / len(errors),
        "GFLOP/s": 1000 / gflop if gflop else 0.0,
        "GB/s": 1000 / gigabyte if gigabyte else 0.0,
        "ms a layer's pass": layer,
        "ms once": once,
    }


def main() -> None:
    """Fit and check the encoder and every way to decode, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", required=True, type=Path, metavar="FILE", help="of benchmarks/speed/latency.py")
    parser.add_argument("--floor", required=True, type=Path, metavar="FILE", help="of benchmarks/speed/floor.py")
    parser.add_argument("--seed", type=int, default=1, help="which half is fitted (default: 1)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write")
    args = parser.parse_args()
    points = read_points(args.latency, args.floor)
    record = {name: check(found, args.seed) for name, found in points.items() if len(found) > 1}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Predicts latency from work: operations, bytes and passes, with rates fitted on a part of the measured points.

A part of the work (the encoder, or a way to decode) takes

    F/R + W/r + S/s + P c + d    milliseconds,

for F operations, W bytes of weights read, S bytes read for the batch's samples (the encoder's states, keys, values) and
P passes through a layer: an autoregressive decoder passes all of its layers at each step, the encoder and a parallel
decoder pass them once. R, r, s, c and d are the machine's and the search's. The whole takes the sum of its parts.
Errors are relative, and so is the fit (non-negative least squares).

Usage: python -m narvl.tables.latency_model --latency FILE --floor FILE --out FILE
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from narvl.errors import DataError
from narvl.models._config import PRESETS

#: A prediction within this share of the measurement is good.
TOLERANCE = 0.2

#: Ways to decode whose times (benchmarks/speed/latency.py) and work (benchmarks/speed/floor.py) are known.
DECODINGS = ("AR beam 5, fairseq", "AR beam 5, optimised", "AR greedy, optimised", "NARVL greedy")


@dataclass(frozen=True)
class Point:
    """A part's measurement and the work behind it.

    Attributes:
        flops: operations.
        weights: bytes of weights read, over all passes.
        samples: bytes read for the batch's samples, over all passes.
        passes: layers of the encoder, or passes times layers of the decoder.
        ms: measured milliseconds.
    """

    flops: float
    weights: float
    samples: float
    passes: float
    ms: float

    @property
    def features(self) -> list[float]:
        """What coefficients multiply: GFLOP, GB, GB, passes, one."""
        return [self.flops / 1e9, self.weights / 1e9, self.samples / 1e9, self.passes, 1.0]


@dataclass(frozen=True)
class Decoded:
    """What was measured of a model that decodes batches of one size in one way."""

    encoder: Point
    decoder: Point
    batch: int


@dataclass(frozen=True)
class Fit:
    """What was fitted: milliseconds a GFLOP, a GB of weights, a GB of samples, a layer's pass, and once."""

    coefficients: npt.NDArray[np.float64]

    def ms(self, point: Point) -> float:
        """Predict a measurement."""
        return float(np.dot(point.features, self.coefficients))


def fit(points: Sequence[Point]) -> Fit:
    """Fit the coefficients, none below 0, to the least squares of relative errors."""
    features = np.array([point.features for point in points])
    times = np.array([point.ms for point in points])
    return Fit(nnls(features / times[:, None], np.ones(len(points)))[0])


def split(points: Sequence[Decoded], seed: int) -> tuple[list[Decoded], list[Decoded]]:
    """Divide measurements by chance into halves: to fit, and held back."""
    order = np.random.default_rng(seed).permutation(len(points))
    half = (len(points) + 1) // 2
    return [points[place] for place in order[:half]], [points[place] for place in order[half:]]


def leave_out(points: Sequence[Decoded], batch: int) -> tuple[list[Decoded], list[Decoded]]:
    """Hold all batches of a size back: to predict them is to go beyond what was fitted."""
    return [point for point in points if point.batch != batch], [point for point in points if point.batch == batch]


def read_points(latency: Path, floor: Path) -> dict[str, list[Decoded]]:
    """Read what was measured of each way to decode, and the work behind it.

    Raises:
        DataError: a measurement has no counted work.
    """
    measured, counted = (json.loads(path.read_text(encoding="utf-8"))["cells"] for path in (latency, floor))
    points: dict[str, list[Decoded]] = {decoding: [] for decoding in DECODINGS}
    for cell in measured.values():
        key = f"{cell['size']} {cell['side']} {cell['task']}"
        work = counted.get(key, {"decoders": {}})
        batch, shape = cell["batch"], PRESETS[cell["size"]]
        for row in cell["rows"]:
            decoding = row["decoding"]
            if decoding not in points:
                continue
            if decoding not in work["decoders"]:
                fix = "Count all anew: python benchmarks/speed/floor.py --fresh"
                raise DataError(f"{floor}: no work of {key}, {decoding}. {fix}")
            steps = 1 if decoding.startswith("NARVL") else cell["answer"] + 1
            encoder = _point(work["parts"].values(), batch, shape["encoder_layers"], row["encoder_ms"])
            parts = work["decoders"][decoding].values()
            decoder = _point(parts, batch, steps * shape["decoder_layers"], row["decoder_ms"])
            points[decoding].append(Decoded(encoder, decoder, batch))
    return points


def _point(parts: Collection[dict[str, float]], batch: int, passes: int, ms: float) -> Point:
    flops, weights, samples = (sum(part[name] for part in parts) for name in ("flops", "fixed_bytes", "sample_bytes"))
    return Point(batch * flops, weights, batch * samples, passes, ms)


def check(fitted: Sequence[Decoded], held_back: Sequence[Decoded]) -> dict[str, dict[str, float]]:
    """Fit a way to decode on some of its points, and predict others: the encoder, the decoder, the whole."""
    encoder, decoder = fit([point.encoder for point in fitted]), fit([point.decoder for point in fitted])
    parts = {
        "encoder": [(encoder.ms(point.encoder), point.encoder.ms) for point in held_back],
        "decoder": [(decoder.ms(point.decoder), point.decoder.ms) for point in held_back],
    }
    parts["whole"] = [(ours[0] + theirs[0], ours[1] + theirs[1]) for ours, theirs in zip(*parts.values(), strict=True)]
    record = {name: _errors(predictions) for name, predictions in parts.items()}
    record["encoder"] |= _rates(encoder)
    record["decoder"] |= _rates(decoder)
    return record


def _errors(predictions: Sequence[tuple[float, float]]) -> dict[str, float]:
    errors = [abs(predicted / measured - 1) for predicted, measured in predictions]
    return {
        "held-back points": float(len(errors)),
        "median error (%)": 100 * statistics.median(errors),
        "largest error (%)": 100 * max(errors),
        "within 20% (%)": 100 * sum(error <= TOLERANCE for error in errors) / len(errors),
    }


def _rates(found: Fit) -> dict[str, float]:
    gflop, weights, samples, layer, once = found.coefficients
    return {
        "GFLOP/s": 1000 / gflop if gflop else 0.0,
        "GB/s of weights": 1000 / weights if weights else 0.0,
        "GB/s of samples": 1000 / samples if samples else 0.0,
        "ms a layer's pass": layer,
        "ms once": once,
    }


def main() -> None:
    """Fit and check every way to decode, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", required=True, type=Path, metavar="FILE", help="of benchmarks/speed/latency.py")
    parser.add_argument("--floor", required=True, type=Path, metavar="FILE", help="of benchmarks/speed/floor.py")
    division = parser.add_mutually_exclusive_group(required=True)
    division.add_argument("--seed", type=int, help="hold half of the points back, drawn by this seed")
    division.add_argument("--batch", type=int, help="hold all points of this batch size back")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write")
    args = parser.parse_args()
    record = {}
    for decoding, points in read_points(args.latency, args.floor).items():
        fitted, held_back = split(points, args.seed) if args.batch is None else leave_out(points, args.batch)
        if fitted and held_back:
            for part, values in check(fitted, held_back).items():
                if part != "encoder" or decoding == DECODINGS[-1]:  # all share the encoder
                    record[f"{decoding}: {part}"] = values
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Times what learning without a teacher costs: an update of NARVL's training and an answer, step by step.

The first is plain Q-CTC, of one reference an image. Then come all references at once, the middle layer's loss, with it
the pairs of neighbours that end a training, and its prediction fed to the layers above (``--references all``,
``--intermediate-layers``, ``--pairs-after``, ``--self-conditioned-layers``; the captioning recipes' shapes). All take
turns; a cost is the median of the rounds' ratios to plain Q-CTC.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from kit import record
from kit.decoders import DECODERS
from kit.shapes import add_shapes, shapes
from kit.workloads import WORKLOADS, build_model, freeze, make_batch, prepare_for_inference, vocabulary
from narvl.evaluation.latency import Contender, measure, spread
from narvl.models._config import middle_layer
from references import make_references
from training import PRECISIONS, Step

#: References of an image, as COCO has them.
_REFERENCES = 5
#: The first is what costs are ratios to.
WAYS = ("plain", "all references", "intermediate", "pairs", "self-conditioned")


def settings(way: str, size: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a way's settings of the model and of the loss."""
    middle = [middle_layer(size)]
    loss: dict[str, Any] = {} if way in ("plain", "all references") else {"intermediate_layers": middle}
    if way == "pairs":
        loss["pairs_after"] = 1
    return {"self_conditioned_layers": middle} if way == "self-conditioned" else {}, loss


def batch_for(way: str, batch: int, side: int, device: torch.device, seed: int) -> dict[str, Any]:
    """Make a batch, with all references where the way learns from them."""
    workload = WORKLOADS["captioning"]
    sample = make_batch(workload, batch, side, device, seed)
    if way != "plain":
        several = make_references(_REFERENCES, batch, workload.steps, len(vocabulary().dictionary), device)
        sample["references"] = {"tokens": several.tokens, "lengths": several.lengths, "weights": several.weights}
    return sample


def ratios(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Return each contender's times and its cost beside the first's."""
    base = np.array(contenders[0].total_ms)
    rows = []
    for contender in contenders:
        times = np.array(contender.total_ms)
        rows.append({"way": contender.name, "ms": spread(times), "cost": spread(times / base), "rounds": len(times)})
    return rows


def _call(step: Step, sample: dict[str, Any], _: object) -> None:
    step(sample)


def measure_cell(size: str, side: int, batch: int, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Time updates and answers on one configuration."""
    updates, answers = [], []
    for way in WAYS:
        model_settings, loss_settings = settings(way, size)
        step = Step(
            "narvl", size, args.precision, False, device, args.seed, settings=model_settings, loss=loss_settings
        )
        if way == "pairs":
            step.criterion.set_num_updates(1)
        sample = batch_for(way, batch, side, device, args.seed)
        updates.append(Contender(way, "", None, partial(_call, step, sample)))
    measure(updates, [None] * (1 + args.rounds), 1, device)
    trained = ratios(updates)
    del updates, step
    build = DECODERS["narvl"].build
    assert build is not None
    for way in ("plain", "self-conditioned"):
        workload = WORKLOADS["captioning"]
        model = freeze(build_model("narvl", size, workload, device, args.seed, **settings(way, size)[0]))
        prepare_for_inference(model, "float32" if args.precision == "float32" else "bfloat16")
        generator = build(model, workload)
        answers.append(Contender(way, "", None, partial(generator.generate, [model])))
    inputs = make_batch(WORKLOADS["captioning"], 1, side, device, args.seed)
    measure(answers, [inputs] * (1 + 2 * args.rounds), 1, device)
    return {"size": size, "side": side, "batch": batch, "updates": trained, "answers": ratios(answers)}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_teacher_free")
    record.add_device(parser)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="amp is autocast to bfloat16")
    add_shapes(parser, sizes=["tiny"], sides=[384], batches=[4])
    parser.add_argument(
        "--rounds", type=record.positive, default=15, help="updates that count; answers are twice as many"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Time every configuration that the results file lacks."""
    device = record.device_of(args)
    results = record.Results(args, device=args.device, precision=args.precision)
    cells = shapes(args)
    for key in results.wanted(list(cells)):
        cell = measure_cell(*cells[key], device, args)
        results.add(key, cell)
        for what in ("updates", "answers"):
            rows = [[row["way"], row["ms"]["median"], row["cost"]["median"]] for row in cell[what]]
            headers = [f"{key}: {what}", "ms", "times plain"]
            sys.stdout.write(tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="github") + "\n\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

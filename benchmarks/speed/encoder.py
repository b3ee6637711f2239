"""Times the encoder against its plain twin, which is written from the model's description in torch's eager operations.

The twin is the one that the tests compare results with (tests/models/plain.py). Ours is timed as training leaves it and
as prepared for inference; the three take turns on the same images and weights.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from kit import record
from kit.counting import count_encoder
from kit.machine import Machine, measure_machine
from kit.shapes import add_shapes, shapes
from kit.workloads import WORKLOADS, build_model, freeze, make_batch, prepare_for_inference
from narvl.evaluation.latency import Contender, measure, summarise
from narvl.models._config import PRESETS

ROOT = Path(__file__).resolve().parents[2]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_encoder")
    record.add_device(parser)
    add_shapes(parser, sizes=["tiny", "base"], sides=[384, 480], batches=[1])
    parser.add_argument("--rounds", type=record.positive, default=9, help="rounds that count")
    return parser


def measure_cell(
    size: str, side: int, batch: int, device: torch.device, machine: Machine, args: argparse.Namespace
) -> dict[str, Any]:
    """Time the encoders at one size; their outputs must agree."""
    sys.path.insert(0, str(ROOT))
    from tests.models import plain

    workload = WORKLOADS["captioning"]
    model = freeze(build_model("narvl", size, workload, device, args.seed))
    state = copy.deepcopy(model.state_dict())
    parts, _ = count_encoder(model, workload, side, device)
    prepared = copy.deepcopy(model)
    prepare_for_inference(prepared, "float32")
    heads = PRESETS[size]["attention_heads"]

    @torch.no_grad()
    def twin(batch: dict[str, Any]) -> torch.Tensor:
        return plain.encode(state, heads, batch["src_tokens"], batch["patch_images"], batch["patch_masks"]).states

    def ours(model: Any) -> Any:
        return torch.no_grad()(lambda batch: model.encoder.forward_torchscript(batch).states)

    encoders = {"plain": twin, "ours": ours(model), "ours, prepared for inference": ours(prepared)}
    inputs = make_batch(workload, batch, side, device, args.seed)["net_input"]
    expected = twin(inputs)
    differences = [float((encode(inputs) - expected).abs().max()) for encode in encoders.values()]
    contenders = [Contender(name, "", None, encode) for name, encode in encoders.items()]
    measure(contenders, [inputs] * (args.rounds + 1), 1, device)
    rows = [
        {"encoder": row["name"], "difference": difference}
        | {key: row[key] for key in ("median_ms", "median_ms_q1", "median_ms_q3", "samples")}
        | {key: row[key] for key in ("speedup", "speedup_q1", "speedup_q3")}
        for row, difference in zip(summarise(contenders), differences, strict=True)
    ]
    floor = sum(part.floor_ms(batch, machine) for part in parts.values())
    return {"size": size, "side": side, "batch": batch, "floor_ms": floor, "rows": rows}


def run(args: argparse.Namespace) -> None:
    """Time every configuration that the results file lacks."""
    device = record.device_of(args)
    results = record.Results(args, device=args.device)
    cells = shapes(args)
    for key in results.wanted(list(cells)):
        machine = results.limits = measure_machine(device, torch.float32, results.limits)
        cell = measure_cell(*cells[key], device, machine, args)
        results.add(key, cell)
        rows = [[row["encoder"], row["median_ms"], row["speedup"], row["difference"]] for row in cell["rows"]]
        headers = [key, "ms", "speed-up", "largest difference"]
        sys.stdout.write(tabulate(rows, headers=headers, floatfmt=("", ".2f", ".2f", ".1e"), tablefmt="github"))
        sys.stdout.write(f"\nfloor {cell['floor_ms']:.2f} ms\n\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

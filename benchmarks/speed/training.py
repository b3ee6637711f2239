"""Times a training step (forward, backward, optimiser) of the AR model and of NARVL, and measures its peak memory.

The step is fairseq's: the captioning recipes' criterions with label smoothing 0.1, clipping, fairseq's Adam. Both
models take turns; memory is measured for each in a process of its own, with weights, gradients and the optimiser's
state in it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tabulate import tabulate

from kit import plots, record
from kit.machine import choose_device
from kit.memory import METHODS, Peak, in_fresh_process
from kit.shapes import add_shapes, shapes
from kit.workloads import WORKLOADS, build_model, make_batch, vocabulary
from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion
from narvl.evaluation.latency import Contender, measure, now, spread, summarise

#: Speed-ups are ratios to the first.
FAMILIES = {"ofa": "AR", "narvl": "NARVL"}
PRECISIONS = ("float32", "amp", "bfloat16")
PARTS = ("forward", "backward", "optimiser")
_SMOOTHING = 0.1
_FEWEST_ROUNDS = 3


@dataclass
class Step:
    """A training step of one model.

    Attributes:
        family: ``ofa`` or ``narvl``.
        size: of the model.
        precision: ``float32``; ``amp``, autocast to bfloat16; ``bfloat16``, weights and optimiser's state in it too.
        checkpointing: recompute activations in the backward pass.
        settings: of the model, beside its size.
        loss: settings of NARVL's criterion.
        parts: milliseconds of each step's parts.
    """

    family: str
    size: str
    precision: str
    checkpointing: bool
    device: torch.device
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PARTS})

    def __post_init__(self) -> None:
        from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
        from fairseq.optim.adam import Adam

        settings = {"checkpoint_activations": True, **self.settings} if self.checkpointing else self.settings
        workload = WORKLOADS["captioning"]
        self.model = build_model(self.family, self.size, workload, self.device, self.seed, **settings).train()
        if self.precision == "bfloat16":
            self.model.bfloat16()
        task = Namespace(target_dictionary=vocabulary().dictionary)
        self.criterion: Any = (
            QueryCTCCriterion(QueryCTCConfig(label_smoothing=_SMOOTHING, **self.loss), task)
            if self.family == "narvl"
            else LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=_SMOOTHING)
        ).train()
        self.optimiser = Adam(self.model.parameters(), lr=1e-6, betas=(0.9, 0.999), weight_decay=0.01)

    def __call__(self, batch: dict[str, Any]) -> None:
        """Take a step, its parts' times noted."""
        times = [now(self.device)]
        amp = torch.autocast(self.device.type, torch.bfloat16) if self.precision == "amp" else contextlib.nullcontext()
        with amp:
            loss, sample_size, _ = self.criterion(self.model, batch)
        times.append(now(self.device))
        (loss / sample_size).backward()
        times.append(now(self.device))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        times.append(now(self.device))
        for name, start, end in zip(PARTS, times, times[1:], strict=False):
            self.parts[name].append(1000 * (end - start))


def peak_memory(
    family: str, size: str, precision: str, checkpointing: bool, batch: int, side: int, device_name: str
) -> tuple[int, int]:
    """Return the peak bytes of training, and those of weights, gradients and optimiser; in a fresh process."""
    device = choose_device(device_name)
    vocabulary()
    inputs = make_batch(WORKLOADS["captioning"], batch, side, device)
    peak = Peak(device)
    step = Step(family, size, precision, checkpointing, device, seed=1)
    for _ in range(2):  # the optimiser's state is made by the first step
        step(inputs)
    kept = sum(parameter.numel() * parameter.element_size() * 2 for parameter in step.model.parameters())
    kept += sum(
        value.numel() * value.element_size()
        for state in step.optimiser.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    return peak.rise(), kept


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = record.build_parser(__doc__, "speed_training")
    record.add_device(parser)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="amp is autocast to bfloat16")
    parser.add_argument("--checkpoint-activations", action="store_true", help="recompute activations when needed")
    add_shapes(parser, sizes=["tiny"], sides=[384], batches=[1, 4])
    parser.add_argument("--rounds", type=record.positive, default=7, help="steps that count")
    parser.add_argument("--budget", type=record.positive, default=120, help="seconds that a cell's steps may take")
    return parser


def measure_cell(size: str, side: int, batch: int, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Time and weigh both models' steps on one configuration."""
    inputs = make_batch(WORKLOADS["captioning"], batch, side, device, args.seed)
    how = (size, args.precision, args.checkpoint_activations)
    steps = {family: Step(family, *how, device, args.seed) for family in FAMILIES}
    contenders = [Contender(FAMILIES[family], "", None, step) for family, step in steps.items()]
    measure(contenders, [inputs] * 2, 1, device)
    seconds = sum(contender.total_ms[0] for contender in contenders) / 1000
    rounds = min(args.rounds, max(_FEWEST_ROUNDS, int(args.budget / seconds)))
    measure(contenders, [inputs] * (rounds - 1), 0, device)
    parts = {family: {part: spread(times[1:]) for part, times in step.parts.items()} for family, step in steps.items()}
    found = summarise(contenders)
    del steps, contenders
    gc.collect()
    rows = []
    for (family, title), row in zip(FAMILIES.items(), found, strict=True):
        peak, kept = in_fresh_process(peak_memory, family, *how, batch, side, args.device)
        rows.append(
            {
                "model": title,
                **{key: row[key] for key in ("median_ms", "median_ms_q1", "median_ms_q3", "samples")},
                **{key: row[key] for key in ("speedup", "speedup_q1", "speedup_q3")},
                "parts_ms": parts[family],
                "peak_bytes": peak,
                "kept_bytes": kept,
            }
        )
    return {"size": size, "side": side, "batch": batch, "rows": rows}


def run(args: argparse.Namespace) -> None:
    """Time every configuration that the results file lacks."""
    device = record.device_of(args)
    results = record.Results(
        args,
        device=args.device,
        precision=args.precision,
        checkpoint_activations=args.checkpoint_activations,
        memory=METHODS[args.device],
    )
    cells = shapes(args)
    for key in results.wanted(list(cells)):
        cell = measure_cell(*cells[key], device, args)
        results.add(key, cell)
        rows = [
            [
                row["model"],
                row["median_ms"],
                *(row["parts_ms"][part]["median"] for part in PARTS),
                row["peak_bytes"] / 1e6,
                row["kept_bytes"] / 1e6,
            ]
            for row in cell["rows"]
        ]
        headers = [key, "ms", *PARTS, "peak MB", "of it weights, gradients, Adam"]
        sys.stdout.write(tabulate(rows, headers=headers, floatfmt=".1f", tablefmt="github") + "\n\n")
    plots.draw("training", results.path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return record.execute(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

"""Times contenders side by side: interleaved, medians with their spread, the encoder's part told apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


@dataclass
class Contender:
    """What is timed.

    Attributes:
        name: of the run.
        decoding: how it decodes, for people.
        encoder: the module whose share is reported apart; None where nothing is.
        run: what is timed, given a round's batch: for a decoder, everything from tensors to tokens.
        prepare: makes what ``run`` is given out of the batch, off the clock; None hands the batch on.
        total_ms: time of each round, in milliseconds.
        encoder_ms: the encoder's part of it; 0 without an encoder.
    """

    name: str
    decoding: str
    encoder: nn.Module | None
    run: Callable[[Any], Any]
    prepare: Callable[[Any], Any] | None = None
    total_ms: list[float] = field(default_factory=list)
    encoder_ms: list[float] = field(default_factory=list)


def measure(contenders: Sequence[Contender], batches: Sequence[Any], warmup: int, device: torch.device) -> None:
    """Time every contender on every batch, a round each, extending their ``total_ms`` and ``encoder_ms``.

    Contenders take turns on each batch, a different one first each time, so that what else the machine does meets all
    of them alike. The first ``warmup`` batches are run and dropped.
    """
    for index, batch in enumerate(batches):
        first = index % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            total, encoder = _time_once(contender, batch, device)
            if index >= warmup:
                contender.total_ms.append(total)
                contender.encoder_ms.append(encoder)


def spread(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the median and the quartiles around it: ``median``, ``q1``, ``q3``."""
    q1, median, q3 = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return {"median": float(median), "q1": float(q1), "q3": float(q3)}


def summarise(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Summarise the times: a row a contender, speed-ups against the first.

    ``speedup`` is the median over rounds of the ratio of the two times of the same round. Every median has its
    quartiles beside it, as ``q1`` and ``q3`` of the same name. ``rounds_ms`` has every round's time, for other pairs.
    """
    base = np.array(contenders[0].total_ms)
    rows = []
    for contender in contenders:
        total, encoder = np.array(contender.total_ms), np.array(contender.encoder_ms)
        row: dict[str, Any] = {"name": contender.name, "decoding": contender.decoding}
        for name, values in (("median_ms", total), ("encoder_ms", encoder), ("decoder_ms", total - encoder)):
            found = spread(values)
            row |= {name: found["median"], f"{name}_q1": found["q1"], f"{name}_q3": found["q3"]}
        ratios = spread(base / total)
        row |= {"mean_ms": float(total.mean()), "p95_ms": float(np.percentile(total, 95))}
        row |= {"speedup": ratios["median"], "speedup_q1": ratios["q1"], "speedup_q3": ratios["q3"]}
        row |= {"samples": len(total), "rounds_ms": [round(value, 3) for value in contender.total_ms]}
        rows.append(row)
    return rows


def now(device: torch.device) -> float:
    """Return the time in seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _time_once(contender: Contender, batch: Any, device: torch.device) -> tuple[float, float]:
    begin = end = 0.0

    def before(*_: Any) -> None:
        nonlocal begin
        begin = now(device)

    def after(*_: Any) -> None:
        nonlocal end
        end = now(device)

    given = batch if contender.prepare is None else contender.prepare(batch)
    hooks = []
    if contender.encoder is not None:
        hooks = [contender.encoder.register_forward_pre_hook(before), contender.encoder.register_forward_hook(after)]
    try:
        start = now(device)
        contender.run(given)
        total = now(device) - start
    finally:
        for hook in hooks:
            hook.remove()
    return 1000 * total, 1000 * (end - begin)

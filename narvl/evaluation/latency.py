"""Times decoders side by side: one sample at a time, interleaved, encoder and decoder apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass
class Contender:
    """What is timed.

    Attributes:
        name: of the run.
        decoding: how it decodes, for people.
        encoder: the module whose share is reported apart.
        decode: decodes a batch completely, from tensors to tokens.
        total_ms: time of each sample, in milliseconds.
        encoder_ms: the encoder's part of it.
    """

    name: str
    decoding: str
    encoder: nn.Module
    decode: Callable[[dict[str, Any]], Any]
    total_ms: list[float] = field(default_factory=list)
    encoder_ms: list[float] = field(default_factory=list)


def measure(
    contenders: Sequence[Contender], batches: Sequence[dict[str, Any]], warmup: int, device: torch.device
) -> None:
    """Time every contender on every batch, filling their ``total_ms`` and ``encoder_ms``.

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


def summarise(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Summarise the times: a row a contender, speed-ups against the first.

    ``speedup`` is the median over samples of the ratio of the two times of the same sample.
    """
    base = np.array(contenders[0].total_ms)
    rows = []
    for contender in contenders:
        total, encoder = np.array(contender.total_ms), np.array(contender.encoder_ms)
        rows.append(
            {
                "name": contender.name,
                "decoding": contender.decoding,
                "median_ms": float(np.median(total)),
                "mean_ms": float(total.mean()),
                "p95_ms": float(np.percentile(total, 95)),
                "encoder_ms": float(np.median(encoder)),
                "decoder_ms": float(np.median(total - encoder)),
                "speedup": float(np.median(base / total)),
                "samples": len(total),
            }
        )
    return rows


def _time_once(contender: Contender, batch: dict[str, Any], device: torch.device) -> tuple[float, float]:
    begin = end = 0.0

    def before(*_: Any) -> None:
        nonlocal begin
        begin = _now(device)

    def after(*_: Any) -> None:
        nonlocal end
        end = _now(device)

    hooks = [contender.encoder.register_forward_pre_hook(before), contender.encoder.register_forward_hook(after)]
    try:
        start = _now(device)
        contender.decode(batch)
        total = _now(device) - start
    finally:
        for hook in hooks:
            hook.remove()
    return 1000 * total, 1000 * (end - begin)


def _now(device: torch.device) -> float:
    """Return the time in seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""How long a recipe trains: the effective batch cut into shares, and the updates that some epochs of some rows make."""

from __future__ import annotations

import math
from dataclasses import dataclass

from narvl.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """A training run in numbers.

    Attributes:
        processes: GPUs, or processes on CPUs, over all machines.
        batch_size: samples that one of them sees at a time.
        accumulation: batches that each of them sees before the weights change (``--update-freq``).
        updates: how often the weights change (``--total-num-update``).
        warmup: how many of these changes the learning rate rises for (``--warmup-updates``).
    """

    processes: int
    batch_size: int
    accumulation: int
    updates: int
    warmup: int

    @property
    def effective_batch(self) -> int:
        """Samples behind one change of the weights."""
        return self.processes * self.batch_size * self.accumulation


def share_batch(effective_batch: int, processes: int, largest: int) -> tuple[int, int]:
    """Cut the effective batch into equal shares, each as large as it may be.

    Args:
        effective_batch: samples behind one change of the weights.
        processes: GPUs, or processes on CPUs.
        largest: samples that fit on one of them.

    Returns:
        Samples that a process sees at a time, and how many such batches it accumulates; the three numbers'
        product is ``effective_batch``.

    Raises:
        UsageError: the processes cannot share the batch equally.
    """
    if effective_batch % processes:
        fitting = max(number for number in range(1, processes) if effective_batch % number == 0)
        raise UsageError(
            f"an effective batch of {effective_batch} cannot be shared by {processes} GPUs. Take {fitting} (NPROC), or "
            "give --batch-size and --update-freq, whose product by the number of GPUs then is the effective batch."
        )
    share = effective_batch // processes
    batch_size = max(size for size in range(1, min(largest, share) + 1) if share % size == 0)
    return batch_size, share // batch_size


def plan(
    rows: int,
    epochs: int,
    effective_batch: int,
    processes: int,
    batch_size: int,
    warmup_ratio: float,
    *,
    accumulation: int | None = None,
    max_updates: int | None = None,
    updates: int | None = None,
    warmup: int | None = None,
) -> Schedule:
    """Plan a training run.

    Args:
        rows: training rows; each epoch sees all of them, so that an epoch's last update may be a smaller one.
        epochs: how often they are seen.
        effective_batch: samples behind one change of the weights, whatever the number of GPUs.
        processes: GPUs, or processes on CPUs.
        batch_size: samples that fit on one of them.
        warmup_ratio: share of the updates that warms up, from 0 to 1.
        accumulation: fixed by the user; then it and ``batch_size`` make the effective batch.
        max_updates: where the user stops the run; the learning rate then comes down by there.
        updates: fixed by the user.
        warmup: fixed by the user.

    Raises:
        UsageError: the processes cannot share the batch equally.
    """
    if accumulation is None:
        batch_size, accumulation = share_batch(effective_batch, processes, batch_size)
    if updates is None:
        updates = math.ceil(rows / (processes * batch_size * accumulation)) * epochs
        updates = min(updates, max_updates or updates)
    if warmup is None:
        warmup = round(warmup_ratio * updates)
    return Schedule(processes, batch_size, accumulation, updates, warmup)

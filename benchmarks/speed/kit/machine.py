"""The machine's limits, measured: matrix products a second, bytes a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass

import torch
from torch import Tensor

from narvl.errors import UsageError
from narvl.evaluation.latency import now

_REPEATS = 15
#: Sides of the square matrices that are multiplied, and bytes that are moved: beyond any cache.
_SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31}


@dataclass(frozen=True)
class Machine:
    """Limits of a device in one dtype; the best of several tries, since a limit is what nothing exceeds.

    Attributes:
        flops: floating-point operations a second of the best matrix product.
        read: bytes a second, reading.
        write: bytes a second, writing.
        copy: bytes a second, read and written counted both.
    """

    flops: float
    read: float
    write: float
    copy: float

    def record(self) -> dict[str, float]:
        """Return the limits as results files hold them."""
        return asdict(self)


def choose_device(name: str) -> torch.device:
    """Return the device of ``--device``.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here. Take --device cpu, or a torch built for the GPU.")
    return torch.device(name)


def measure_machine(device: torch.device, dtype: torch.dtype, before: Machine | None = None) -> Machine:
    """Measure a device's limits; some seconds.

    Args:
        device: which.
        dtype: of the products.
        before: what was measured earlier: the higher limits count, as other work may have slowed either measurement.
    """

    def best(work: Callable[[], Tensor]) -> float:
        times = []
        for _ in range(_REPEATS):
            start = now(device)
            work()
            times.append(now(device) - start)
        return min(times)

    flops = 0.0
    for side in _SIDES[device.type]:
        a = torch.randn(side, side, device=device).to(dtype)
        out = torch.empty_like(a)
        flops = max(flops, 2 * side**3 / best(lambda a=a, out=out: torch.mm(a, a, out=out)))  # type: ignore[misc]
    x = torch.ones(_BYTES[device.type] // 4, device=device)
    y = torch.ones_like(x)
    size = 4 * x.numel()
    machine = Machine(flops, size / best(x.sum), size / best(lambda: y.fill_(0.0)), 2 * size / best(lambda: y.copy_(x)))
    if before is not None:
        machine = Machine(*(max(pair) for pair in zip(astuple(machine), astuple(before), strict=True)))
    sys.stderr.write(
        f"machine: {machine.flops / 1e9:.0f} GFLOP/s {dtype}, read {machine.read / 1e9:.1f} GB/s, "
        f"write {machine.write / 1e9:.1f} GB/s, copy {machine.copy / 1e9:.1f} GB/s\n"
    )
    return machine

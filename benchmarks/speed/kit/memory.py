"""Peak memory of a piece of work, in a process of its own: what other work has left behind does not count."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")

#: How memory is measured, for results files.
METHODS = {
    "cpu": "peak resident memory of a fresh process beyond what it held before",
    "cuda": "torch.cuda.max_memory_allocated beyond what was allocated before",
}


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a module's function in a new process and return what it returns."""
    # Freed tensors go back to the system at once, so that the resident memory is what lives.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 18))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class Peak:
    """Measures how far memory rises above its level when this is made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        else:
            if _RESET.exists():
                _RESET.write_text("5", encoding="ascii")  # Linux: the peak starts anew from what is resident
            self.before = resident("VmRSS")

    def rise(self) -> int:
        """Return the bytes of the peak beyond the level before."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device) - self.before)
        return max(resident("VmHWM") - self.before, 0)


def resident(field: str) -> int:
    """Return this process's resident memory in bytes: now (``VmRSS``) or at its peak (``VmHWM``).

    Elsewhere than on Linux both are the peak since the process began.
    """
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def available() -> int:
    """Return the bytes of memory that are free for use, or a very large number where nothing tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 1 << 60
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))

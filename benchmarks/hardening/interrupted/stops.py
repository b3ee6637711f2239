"""Four ways to stop a command that is at work."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
from collections.abc import Callable

from interrupted.process import Running, wait_until

#: Stops a running command; ``size`` is that of its largest file in bytes.
Stop = Callable[[Running, int, random.Random], None]


def kill(running: Running, size: int, rng: random.Random) -> None:
    """End it without a word, as the system does when memory runs out."""
    running.signal(signal.SIGKILL)


def terminate(running: Running, size: int, rng: random.Random) -> None:
    """Ask it to end, as schedulers do."""
    running.signal(signal.SIGTERM)


def fill_disk(running: Running, size: int, rng: random.Random) -> None:
    """Let no file grow beyond a random size from now on: writes fail as on a full disk, without anyone's disk full.

    The limit is the system's own for a process (RLIMIT_FSIZE), which the commands that it starts have too. Python
    ignores the signal that comes with it, so that ``write`` fails. It leaves room for what workers share in memory.
    """
    limit = rng.randrange(size // 4, size)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (limit, limit))


def kill_worker(running: Running, size: int, rng: random.Random) -> None:
    """Kill a process that it has started; between epochs, wait for one."""
    if wait_until(running.workers, running):
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(rng.choice(running.workers()), signal.SIGKILL)


KILL, TERMINATE, FULL_DISK, WORKER = "SIGKILL", "SIGTERM", "full disk", "worker killed"
STOPS: dict[str, Stop] = {KILL: kill, TERMINATE: terminate, FULL_DISK: fill_disk, WORKER: kill_worker}

"""A command in a process of its own: its output as it comes, its worker processes, and its end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from interrupted.preloaded import Child, Server

ROOT = Path(__file__).resolve().parents[3]
#: A command that has not ended by then hangs, in seconds.
TIME_LIMIT_S = 300.0
#: Worker processes that outlive their command by more than this are orphans.
_ORPHANED_AFTER_S = 20.0
_POLL_S = 0.01


def environment() -> dict[str, str]:
    """Return what commands run in."""
    python_path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{python_path}" if python_path else str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }


class Running:
    """A command that runs until it ends or is stopped.

    Args:
        argv: the command.
        server: who runs it; None: a process from the beginning.
    """

    def __init__(self, argv: Sequence[str], server: Server | None = None) -> None:
        # A pipe, not a file: the output must pass where no file may grow.
        self._pipe, end = os.pipe()
        self._process: Child | subprocess.Popen[bytes]
        if server is None:
            self._process = subprocess.Popen(
                argv, env=environment(), stdout=end, stderr=subprocess.STDOUT, start_new_session=True
            )
        else:
            self._process = server.start(argv, end)
        os.close(end)
        self._output = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while block := os.read(self._pipe, 1 << 16):
            self._output += block
        os.close(self._pipe)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def lines(self) -> list[str]:
        """What it has written so far; a progress bar's states are lines too."""
        return [line for line in re.split(r"[\r\n]+", self._output.decode(errors="replace")) if line.strip()]

    def workers(self) -> list[int]:
        """Return the processes that it has started and that still run."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent, *_ = stat.read_text().rpartition(")")[2].split()
                if int(parent) == self.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return sorted(found)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def pause(self, seconds: float) -> None:
        """Let it run for a while; return at once when it ends."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def wait(self) -> tuple[int | None, bool]:
        """Wait for its end, and for that of its workers; end by force what hangs.

        Returns:
            The exit status, None where it hung; and whether it left workers behind.
        """
        status: int | None
        try:
            status = self._process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            status = None
            self._process.kill()
        self._reader.join(_ORPHANED_AFTER_S)  # workers have the pipe's other end
        orphans = self._reader.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return status, orphans


def wait_until(condition: Callable[[], object], running: Running) -> bool:
    """Wait until a condition holds or the command has ended; return whether it holds."""
    while not condition():
        if running.ended:
            return bool(condition())
        time.sleep(_POLL_S)
    return True

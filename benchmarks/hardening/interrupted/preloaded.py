"""Runs commands in forks of one process that has imported what they need: the same code without seconds of imports.

``Server`` is the side of who wants a command run; ``python preloaded.py SOCKET`` is the process that forks.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn


class Server:
    """A process with the imports done, for as long as the context lasts.

    Args:
        environment: of the commands.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(argv, env=environment, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL)
        theirs.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.wait()

    def start(self, argv: Sequence[str], output: int) -> Child:
        """Start a command.

        Args:
            argv: the command.
            output: descriptor that takes what it writes.
        """
        socket.send_fds(self._socket, [json.dumps(argv).encode()], [output])
        return Child(self._socket, int(self._socket.recv(32)))


class Child:
    """A command that a server has started, as ``subprocess.Popen`` shows one."""

    def __init__(self, server: socket.socket, pid: int) -> None:
        self._socket = server
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        if self._status is None and select.select([self._socket], [], [], 0)[0]:
            self._status = int(self._socket.recv(32))
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self._status is None and not select.select([self._socket], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def _run(argv: list[str], output: int) -> NoReturn:
    """Run a command as its console script does, and end the process."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    status = 1
    try:
        if argv[1:2] == ["-c"]:
            sys.argv = argv[1:2] + argv[3:]
            exec(argv[2], {"__name__": "__main__"})
            status = 0
        elif argv[1:3] == ["-m", "narvl.cli"]:
            sys.argv = argv[2:]
            status = narvl.cli.main()
        else:
            sys.argv = argv
            fairseq_cli.train.cli_main()
            status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(status)


def _serve(commands: socket.socket) -> None:
    """Run a command at a time until the other side closes."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(commands, 1 << 20, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            commands.close()
            _run(json.loads(message), descriptors[0])
        os.close(descriptors[0])
        commands.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        commands.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    import fairseq_cli.train  # isort: skip  # first, since it configures the logs, as it does in its own command
    import fairseq_cli.generate

    import narvl.cli
    import narvl.tables.runner

    with contextlib.suppress(BrokenPipeError):  # the other side has been stopped
        _serve(socket.socket(fileno=int(sys.argv[1])))

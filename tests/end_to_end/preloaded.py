"""Runs commands in forks of one process that has imported what they need: the same code without seconds of imports.

Reads one JSON object a line: ``argv``, and the files that take the command's output, ``out`` and ``err``. Answers
``status`` and the exit status, a line each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn

import fairseq_cli.train  # isort: skip  # first, since it configures the logs, as it does in its own command
import fairseq_cli.generate
import fairseq_cli.validate

import narvl.cli

COMMANDS = {
    "fairseq-train": fairseq_cli.train.cli_main,
    "fairseq-generate": fairseq_cli.generate.cli_main,
    "fairseq-validate": fairseq_cli.validate.cli_main,
    "narvl": narvl.cli.main,
}
TIME_LIMIT = 600  # seconds


def run(argv: list[str], out: str, err: str) -> NoReturn:
    """Run a command as its console script does, in this process, and end the process."""
    signal.alarm(TIME_LIMIT)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = argv
    status = 0
    try:
        status = COMMANDS[argv[0]]() or 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**request)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"status {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

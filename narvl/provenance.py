"""Says where a figure comes from: command, source version, machine, library versions, date and seed."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: The value of whatever could not be found out.
UNKNOWN = "unknown"

_GIT_TIMEOUT_S = 60
#: What commands write from figures: it changes no figure.
_WRITTEN = ("results", "docs", "README.md")


def provenance(seed: int | None = None, argv: Sequence[str] | None = None) -> dict[str, object]:
    """Collect what a results file must say about its own making.

    Args:
        seed: the random seed behind the figures; None where none was drawn.
        argv: the command and its arguments; None takes this process's own.

    Returns:
        A mapping fit for JSON: ``command``, ``commit``, ``dirty`` (None when the commit is unknown), ``seed``, ``date``
        (UTC, ISO 8601), ``machine`` (``cpu``, ``cores``, ``accelerator``) and ``versions`` (``python``, ``torch``,
        ``fairseq``).
    """
    commit, dirty = source_version(Path(__file__).resolve().parent)
    return {
        "command": portable_command(sys.argv if argv is None else argv),
        "commit": commit,
        "dirty": dirty,
        "seed": seed,
        "date": now(),
        "machine": {"cpu": cpu_model(), "cores": usable_cores(), "accelerator": accelerator()},
        "versions": {
            "python": platform.python_version(),
            "torch": _installed_version("torch"),
            "fairseq": _installed_version("fairseq-fixed", "fairseq"),
        },
    }


def now() -> str:
    """Return the date and time: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def version(made: Mapping[str, Any]) -> str:
    """Return the commit of a record of ``provenance``, with a ``+`` where files differed from it."""
    return str(made["commit"]) + ("+" if made.get("dirty") else "")


def short_version(text: str) -> str:
    """Shorten what ``version`` returned, for people."""
    return text[:10] + ("+" if text.endswith("+") else "")


def portable_command(argv: Sequence[str]) -> str:
    """Join a command line, with every absolute path made relative to the working directory or cut to its name.

    A results file is published: it should repeat the command, not describe the folders of one computer.
    """
    program, *arguments = argv
    return " ".join([Path(program).stem, *(_portable_argument(argument) for argument in arguments)])


def _portable_argument(argument: str) -> str:
    name, equals, value = argument.rpartition("=")
    if not os.path.isabs(value):
        portable = argument
    else:
        path, here = Path(value), Path.cwd()
        portable = name + equals + (str(path.relative_to(here)) if path.is_relative_to(here) else path.name)
    return f'"{portable}"' if " " in portable else portable


def source_version(package: Path) -> tuple[str, bool | None]:
    """Find the git commit of a package's source tree.

    Args:
        package: the folder that holds the package's ``__init__.py``.

    Returns:
        The commit's hash and whether a tracked file, or an untracked one of the package, differs from it, but for
        results, pages and the README, which commands write from figures;
        ``("unknown", None)`` outside a checkout, without a commit, or without git.
    """
    try:
        # An installed copy may lie inside another project's checkout (a .venv): a tracked file shows the right one.
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "HEAD")
        read = [":(top)", *(f":(top,exclude){name}" for name in _WRITTEN)]
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", *read)
        added = _git(package, "ls-files", "--others", "--exclude-standard")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN, None
    return commit, bool(changed or added)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_TIMEOUT_S)
    return done.stdout.strip()


def cpu_model() -> str:
    """Return the processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or UNKNOWN


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerator() -> str:
    """Return the GPU's name as torch sees it, or ``none``."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


def _installed_version(*names: str) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return UNKNOWN

"""Finds Java, which three of the caption tools need, and sets it up for them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping

_ENVIRONMENT = "JAVA_TOOL_OPTIONS"
_START_TIMEOUT_S = 60


def java_version() -> int | None:
    """Return the major version of the ``java`` on the path (8, 11, 17, ...), or None where none runs."""
    if shutil.which("java") is None:
        return None
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=_START_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    # macOS ships a java command that only says that Java is missing.
    return int(found[1]) if done.returncode == 0 and found else None


@contextlib.contextmanager
def java_options(*options: str) -> Iterator[Mapping[str, str]]:
    """Start every Java process of the block with these options; yields the environment they run in."""
    before = os.environ.get(_ENVIRONMENT)
    os.environ[_ENVIRONMENT] = " ".join([*([before] if before else []), *options])
    try:
        yield os.environ
    finally:
        if before is None:
            del os.environ[_ENVIRONMENT]
        else:
            os.environ[_ENVIRONMENT] = before

"""Files that are replaced at once or not at all, and a full disk told in one line that names the file."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from narvl.errors import UsageError

# No space, no more of one's quota, a file over the limit for its size.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def named_when_full(path: Path) -> Iterator[None]:
    """Name what is being written where the disk has no room for it; the system's own word names nothing.

    Args:
        path: the file, or the folder that takes several.

    Raises:
        UsageError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UsageError(
            f"{path}: cannot be written ({error.strerror}). Free space and run the command again."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Replace a text file: it has its old content or the new one, whatever stops the process.

    Raises:
        UsageError: the disk is full; the file is as it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    with named_when_full(path):
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)

"""The two errors that users meet: bad data and bad usage. Commands print their message alone, without a traceback."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from types import TracebackType

# What a terminal obeys instead of showing, and what no terminal can show: control characters but for line feed and tab,
# Unicode's line separators, the marks that turn the direction of writing, half surrogates.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Write characters that act on a terminal, or cannot be shown, as escapes such as ``\x1b``."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).partition("\n")[0]


class _NamedError(ValueError):
    """Its message may quote data and file names from anywhere: it is made fit for a terminal and a log."""

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


class DataError(_NamedError):
    """A file or row cannot be used. The message names file, row, the value seen and the fix."""


class UsageError(_NamedError):
    """A flag or argument cannot be used. The message names it, the value seen and the fix."""


def without_tracebacks() -> None:
    """Let fairseq's commands end with such an error's message alone, as ours do; LOGLEVEL=DEBUG shows all of it."""
    show = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        command = Path(sys.argv[0] if sys.argv else "")
        is_fairseq_s = command.name.startswith("fairseq-") or command.parent.name == "fairseq_cli"
        if not (isinstance(error, _NamedError) and is_fairseq_s) or logging.getLogger().isEnabledFor(logging.DEBUG):
            return show(kind, error, trace)
        # From a data-loading worker the message comes at the end of its traceback.
        message = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()
        sys.stderr.write(f"{command.stem}: error: {message}\n")

    sys.excepthook = tell

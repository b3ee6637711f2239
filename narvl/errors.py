"""The two errors that users meet: bad data and bad usage. Commands print their message alone, without a traceback."""

from __future__ import annotations


class DataError(ValueError):
    """A file or row cannot be used. The message names file, row, the value seen and the fix."""


class UsageError(ValueError):
    """A flag or argument cannot be used. The message names it, the value seen and the fix."""

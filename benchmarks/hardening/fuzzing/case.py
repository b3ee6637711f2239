"""A case: inputs to draw, and a check that every one of them ends well or in an error that names itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from narvl.errors import visible

# What differs between two messages of one kind: quoted values, paths, numbers.
_VALUES = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|/\S+|-?\d[\d.,e+-]*""")
_SHOWN = 90


@dataclass(frozen=True)
class Case:
    """One way to be hostile.

    Attributes:
        name: for the outcomes.
        inputs: what is drawn.
        check: takes an input; returns what became of it in a few words, and raises anything where it ended badly.
    """

    name: str
    inputs: SearchStrategy[Any]
    check: Callable[[Any], str]


def refusal(error: ValueError, *parts: str) -> str:
    """Check an error that names itself, and return its kind.

    Args:
        error: a ``DataError`` or ``UsageError``.
        parts: what its message must name, all of it.
    """
    message = str(error)
    for part in parts:
        assert part in message, f"{part!r} is not named: {message!r}"
    assert message == visible(message) and "\n" not in message, f"not fit for a terminal: {message!r}"
    return f"{type(error).__name__}: {_VALUES.sub('*', message)[:_SHOWN]}"

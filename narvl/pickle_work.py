"""Tells how much work a pickle asks for, without reading its values: a few bytes can nest what takes years to hash."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import IO, Any

# A value is worth its parts, and a text one part for so many of its characters.
_TEXT = 16
# A checkpoint of fairseq's takes one or two parts a byte.
_MOST_A_BYTE = 100
_ALWAYS = 10_000
_PUT = ("PUT", "BINPUT", "LONG_BINPUT")
_GET = ("GET", "BINGET", "LONG_BINGET")
# These change the value below the others that they take, and leave it where it was.
_FILL = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")


class TooMuchWork(Exception):
    """The pickle unfolds to far more than it has bytes."""


@dataclass(eq=False)
class _Value:
    """What a value unfolds to, in parts; one that lies in several places counts in each."""

    parts: int


_MARK = _Value(0)


def check_work(file: IO[bytes]) -> bool:
    """Follow one pickle to its end, counting the parts that its operations take.

    Whatever is put into a container, or handed to a function, is counted with all that is in it, as often as that is
    done: no value is hashed, compared, copied or printed in fewer steps. So many shared values in one another, each
    there twice, come to more than a number can tell; what honest files hold comes to a few parts a byte.

    Args:
        file: where the pickle begins; is left behind its end.

    Returns:
        Whether it has an end. Where it is broken, a reader stops at the same place at the latest.

    Raises:
        TooMuchWork: they come to more than a hundred parts a byte.
    """
    begin = file.tell()
    stack: list[_Value] = []
    memo: dict[Any, _Value] = {}
    work = 0
    try:
        for operation, argument, place in pickletools.genops(file):
            name = operation.name
            if name in _PUT:
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in _GET:
                stack.append(memo[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            elif name == "MARK":
                stack.append(_MARK)
            else:
                taken = _take(stack, operation.stack_before)
                parts = sum(value.parts for value in taken)
                work += parts
                if work > _MOST_A_BYTE * ((place or 0) - begin) + _ALWAYS:
                    raise TooMuchWork
                if name in _FILL:
                    taken[0].parts = parts
                    stack.append(taken[0])
                elif operation.stack_after:
                    text = len(argument) // _TEXT if isinstance(argument, (str, bytes)) else 0
                    stack.append(_Value(1 + text + parts))
    except (ValueError, LookupError, MemoryError):  # the last: a text that claims to be endless
        return False
    return True


def _take(stack: list[_Value], before: list[Any]) -> list[_Value]:
    """Take what an operation takes off the stack, the lowest first."""
    if pickletools.markobject in before:
        start = len(stack) - 1
        while stack[start] is not _MARK:
            start -= 1
        start -= before.index(pickletools.markobject)
    else:
        start = len(stack) - len(before)
    taken = stack[max(start, 0) :]
    del stack[max(start, 0) :]
    return taken

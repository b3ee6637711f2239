"""Reads pickles from the web without trusting them: containers, texts and numbers load, anything else is refused."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from narvl.errors import DataError
from narvl.prepare.fields import show

#: Larger files are refused unread. The annotations of RefCOCO, RefCOCO+ and RefCOCOg take tens of megabytes.
MAX_BYTES = 256 << 20

# What a pickle of plain values needs, in protocols 0 to 5. Left out, besides whatever builds or calls an object: byte
# arrays, out-of-band buffers and extension codes.
_PLAIN = """
    PROTO FRAME STOP MARK POP POP_MARK DUP
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
"""
# These name a class or a persistent id. They are followed up to the name, for the message, and end there.
_NAMING = "GLOBAL STACK_GLOBAL INST PERSID BINPERSID"


# Where on the stack these find the keys of a dictionary.
_KEYS = {"SETITEM": slice(-2, -1), "SETITEMS": slice(0, None, 2), "DICT": slice(0, None, 2)}


class _Refused(Exception):
    """The pickle asks for more than plain values."""


def _without_tuples(operation: Callable[[Any], None], keys: slice | None) -> Callable[[Any], None]:
    """Let an operation take no tuple for a key: a few bytes can nest one so that its hash takes years."""
    if keys is None:
        return operation

    def run(unpickler: Any) -> None:
        if any(isinstance(key, tuple) for key in unpickler.stack[keys]):
            raise pickle.UnpicklingError("a tuple as a dictionary's key")
        operation(unpickler)

    return run


# The Python implementation, not the C one: its table of operations can be cut down to those above, and its memo is a
# dictionary (in C a memo index of nine digits allocates gigabytes at once).
class _PlainUnpickler(pickle._Unpickler):
    dispatch = {
        getattr(pickle, name)[0]: _without_tuples(pickle._Unpickler.dispatch[getattr(pickle, name)[0]], _KEYS.get(name))
        for name in (_PLAIN + _NAMING).split()
    }

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse every class and function."""
        raise _Refused(f"it asks for {f'{module}.{name}'[:80]!r}")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse every reference to an outside object."""
        raise _Refused(f"it asks for the persistent object {show(pid)}")


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of lists, tuples, dictionaries (their keys no tuples), texts, bytes, numbers, booleans and None.

    Nothing that the file names is imported or called. Python 2's pickles are read too; their byte strings become text
    by Latin-1.

    Args:
        path: the file.

    Raises:
        DataError: the file is missing, is larger than ``MAX_BYTES``, is damaged, or asks for a class, a function or a
            persistent object.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size:,} bytes; annotations take far less than {MAX_BYTES:,}. It was not "
                "read. Download the file again from the data set's own page."
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give the file as it was downloaded.") from error
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except _Refused as error:
        raise DataError(
            f"{path}: not the annotations of a data set: {error}, and loading it could run a program. Nothing was run. "
            "Download the file again from the data set's own page."
        ) from None
    except (
        *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError),
        *(OverflowError, MemoryError, RecursionError),
    ) as error:
        # A KeyError is an operation that is not in the table, or a memo entry that was never stored.
        raise DataError(
            f"{path}: no pickle of plain values ({type(error).__name__}: {str(error)[:80]}). It is damaged or not the "
            "annotations of a data set: download it again from the data set's own page."
        ) from error

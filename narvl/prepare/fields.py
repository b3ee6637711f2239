"""What raw annotations hold, as the fields of a TSV row: texts on one line, ids as text, numbers without noise."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from narvl.data.text import clean_prompt
from narvl.data.tsv import SEPARATOR
from narvl.errors import DataError

# Ids have so many digits at most: COCO's have 12.
_ID_DIGITS = 18
_NOT_IN_A_FIELD = re.compile(rf"[\x00-\x1f\x7f\ud800-\udfff]|{SEPARATOR}")


class BadRow(DataError):
    """A record of the raw annotations that cannot become a row.

    Args:
        reason: the kind of fault, for the summary; continues "3 rows ...".
        message: the value seen and the fix. File and record are put in front where the error is reported.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        """Write a whole number that Python would refuse to write: one of thousands of digits."""
        return super().repr_int(x, level) if abs(x) < 10**self.maxlong else f"a number above 10^{self.maxlong}"


#: Writes a value of raw annotations for a message, shortened: nested lists, and numbers, can be endless.
show = _Shown().repr


def clean(text: str) -> str:
    """Make a text fit for a field: no tabs, line breaks, half surrogates or reference separators; single blanks."""
    words = _NOT_IN_A_FIELD.sub(" ", text).split()
    # A "&" at an end would merge with the separator beside it.
    return " ".join(words).strip("& ")


def text_field(record: Mapping[str, Any], name: str) -> str:
    """Return a record's text, cleaned.

    Raises:
        BadRow: it is missing, is no text, or holds no word that a task could read.
    """
    value = record.get(name)
    text = clean(value) if isinstance(value, str) else ""
    if not clean_prompt(text, 1).strip("?"):
        raise BadRow(f"with an empty {name}", f"its {name} is {show(value)}: there is nothing to read. Write words.")
    return text


def number_id(record: Mapping[str, Any], name: str) -> int:
    """Return a record's id as a whole number: some files write 7, others "7".

    Raises:
        BadRow: it is missing, no whole number, or longer than any id.
    """
    value = record.get(name)
    if _is_whole(value):
        return value
    if isinstance(value, str) and re.fullmatch(rf"\s*[0-9]{{1,{_ID_DIGITS}}}\s*", value):
        return int(value)
    raise BadRow(
        f"without a usable {name}",
        f"its {name} is {show(value)}. Give a whole number of at most {_ID_DIGITS} digits.",
    )


def text_id(record: Mapping[str, Any], name: str) -> str:
    """Return a record's id as text, where ids may hold letters ("n161313") or leading zeros.

    Raises:
        BadRow: it is missing, empty, or neither text nor whole number.
    """
    value = record.get(name)
    if _is_whole(value):
        return str(value)
    text = clean(value) if isinstance(value, str) else ""
    if not text:
        raise BadRow(f"without a usable {name}", f"its {name} is {show(value)}. Give a text or a whole number.")
    return text


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_ID_DIGITS


def number(value: float) -> str:
    """Write a coordinate with two decimals at most (as COCO does), without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def join(texts: Iterable[str]) -> str:
    """Join cleaned texts in one field, without the empty ones."""
    return SEPARATOR.join(text for text in texts if text)

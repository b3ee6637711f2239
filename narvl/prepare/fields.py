"""What raw annotations hold, as the fields of a TSV row: texts on one line, ids as text, numbers without noise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from narvl.data.text import clean_prompt
from narvl.data.tsv import SEPARATOR
from narvl.errors import DataError

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
        raise BadRow(f"with an empty {name}", f"its {name} is {value!r}: there is nothing to read. Write words.")
    return text


def number_id(record: Mapping[str, Any], name: str) -> int:
    """Return a record's id as a whole number: some files write 7, others "7".

    Raises:
        BadRow: it is missing or no whole number.
    """
    value = record.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,18}\s*", value):
        return int(value)
    raise BadRow(f"without a usable {name}", f"its {name} is {value!r}. Give a whole number.")


def text_id(record: Mapping[str, Any], name: str) -> str:
    """Return a record's id as text, where ids may hold letters ("n161313") or leading zeros.

    Raises:
        BadRow: it is missing, empty, or neither text nor whole number.
    """
    value = record.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = clean(value) if isinstance(value, str) else ""
    if not text:
        raise BadRow(f"without a usable {name}", f"its {name} is {value!r}. Give a text or a whole number.")
    return text


def number(value: float) -> str:
    """Write a coordinate with two decimals at most (as COCO does), without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def join(texts: Iterable[str]) -> str:
    """Join cleaned texts in one field, without the empty ones."""
    return SEPARATOR.join(text for text in texts if text)

"""Grounding rows: from the TSV's columns to prompt and box."""

from __future__ import annotations

from narvl.data.boxes import Box, parse_pixels
from narvl.data.sample import Example
from narvl.data.text import clean_statement
from narvl.errors import DataError


def prompt(text: str, max_words: int) -> str:
    """Write the prompt of a referring expression.

    Raises:
        DataError: the expression is empty.
    """
    cleaned = clean_statement(text, max_words)
    if not cleaned:
        raise DataError(f"the text is {text!r}: nothing is left to look for. Write words or drop the row.")
    return f' which region does the text " {cleaned} " describe?'


def box(fields: list[str]) -> Box | None:
    """Return a row's box in pixels of the original image; None where the column is empty.

    Raises:
        DataError: the column is no box.
    """
    return parse_pixels(fields[3]) if fields[3].strip() else None


def example(fields: list[str], labelled: bool, max_words: int) -> Example:
    """Turn a row into an example.

    Args:
        fields: the row (``narvl.data.tsv.COLUMNS["grounding"]``).
        labelled: whether the row must have a box.
        max_words: words of the expression that are kept.

    Raises:
        DataError: the text is empty, or the box missing or malformed.
    """
    truth = box(fields)
    if labelled and truth is None:
        raise DataError("the box (column 4) is empty. Write x0,y0,x1,y1 or drop the row.")
    return Example(prompt=prompt(fields[2], max_words), target=truth or "", image=fields[4])

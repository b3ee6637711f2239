"""Captioning rows: from the TSV's columns to prompt, target and references."""

from __future__ import annotations

from narvl.data.sample import Example
from narvl.data.text import clean_caption
from narvl.data.tsv import SEPARATOR
from narvl.errors import DataError

PROMPT = " what does the image describe?"


def references(fields: list[str]) -> list[str]:
    """Return a row's reference captions, as people wrote them; empty without any."""
    texts = [text.strip() for text in fields[2].split(SEPARATOR)]
    return [text for text in texts if text]


def example(fields: list[str], labelled: bool, max_words: int) -> Example:
    """Turn a row into an example; of several references the first that can be one is the target.

    Args:
        fields: the row (``narvl.data.tsv.COLUMNS["captioning"]``).
        labelled: whether the row must have a caption.
        max_words: longest target.

    Raises:
        DataError: there is no caption, or none with a word.
    """
    given = references(fields)
    texts = [f" {text}" for text in (clean_caption(text, max_words) for text in given) if text]
    if labelled and not texts:
        state = f"is {given[0]!r}: nothing but punctuation. Write words" if given else "is empty. Write one"
        raise DataError(f"the caption (column 3) {state} or drop the row.")
    target, *others = texts or [""]
    return Example(prompt=PROMPT, target=target, image=fields[4], others=tuple((text, 1.0) for text in others))

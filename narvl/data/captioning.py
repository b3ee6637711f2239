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
    """Turn a row into an example; of several references the first is the target.

    Args:
        fields: the row (``narvl.data.tsv.COLUMNS["captioning"]``).
        labelled: whether the row must have a caption.
        max_words: longest target.

    Raises:
        DataError: the caption is missing, or nothing but punctuation.
    """
    texts = references(fields)
    text = next(iter(texts), "")
    target = clean_caption(text, max_words)
    if labelled and not target:
        state = f"is {text!r}: nothing but punctuation. Write words" if text else "is empty. Write one"
        raise DataError(f"the caption (column 3) {state} or drop the row.")
    others = [clean_caption(other, max_words) for other in texts[1:]]
    return Example(
        prompt=PROMPT,
        target=f" {target}" if target else "",
        image=fields[4],
        others=tuple((f" {other}", 1.0) for other in others if other),
    )

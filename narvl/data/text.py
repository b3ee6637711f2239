"""Text as the model reads and says it: what is stripped, lower-cased and cut (tasks-and-data.md 1)."""

from __future__ import annotations

import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_caption(text: str, max_words: int) -> str:
    """Strip punctuation and surplus blanks from a caption and keep its first ``max_words`` words."""
    return " ".join(text.translate(_PUNCTUATION).split()[:max_words])

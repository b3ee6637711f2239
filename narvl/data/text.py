"""Text as the model reads and says it: what is stripped, lower-cased and cut."""

from __future__ import annotations

import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LEADING = ",.!?*#:;~"
_TO_BLANKS = str.maketrans("-/", "  ")


def clean_caption(text: str, max_words: int) -> str:
    """Strip punctuation and surplus blanks from a caption and keep its first ``max_words`` words."""
    return " ".join(text.translate(_PUNCTUATION).split()[:max_words])


def clean_prompt(text: str, max_words: int) -> str:
    """Prepare a text that people wrote for a prompt, and keep its first ``max_words`` words.

    Lower case; no leading punctuation; hyphens and slashes become blanks, and runs of blanks one.
    """
    return " ".join(text.strip().lower().lstrip(_LEADING).translate(_TO_BLANKS).split()[:max_words])


def clean_statement(text: str, max_words: int) -> str:
    """Prepare a caption, hypothesis or expression for a prompt: as ``clean_prompt``, with ``<person>`` spelled out."""
    return clean_prompt(text.lower().replace("<person>", "person"), max_words)

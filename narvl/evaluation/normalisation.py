"""VQA's answer normalisation: what makes "The Dog." and "dog", "two" and "2", "dont" and "don't" the same answer.

The rules are those of the data set's evaluation page (visualqa.org/evaluation.html), with the details of the program
behind the published figures, which decide between removing a character and making it a blank:

1. a punctuation mark that stands beside a blank anywhere in the answer is removed, any other becomes a blank;
2. where an answer has a comma between digits (1,000), all its punctuation marks are removed;
3. apostrophes and colons stay (girl's, 2:50), and so do signs that the program does not list ($, %, &);
4. a period is removed unless a digit follows it (2.5 keeps it, p.m. becomes pm);
5. lower case; number words up to ten, and "none", become digits; articles go; contractions get their apostrophes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

_PUNCTUATION = '!"()+,-/;<=>?@[\\]_`{}'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}

# Which words each ending is written onto.
_ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could i might must not should they we what where who would you",
    "'d": "he how it somebody someone something there they where who you",
    "'ll": "how it somebody someone something there they what who why you",
    "'re": "there they what why you",
    "'s": "he how she somebody someone that there what when where who why",
    "'m": "i",
    "n't've": "could had might must should would",
    "'d've": "he i it she somebody someone something there they we who you y'all",
}
_SINGLE = ("ma'am", "o'clock", "'twas", "y'all", "y'all'll")


def _without_apostrophes(word: str) -> Iterator[str]:
    """Yield a contraction with some or all of its apostrophes missing."""
    parts = word.split("'")
    for marks in product(("", "'"), repeat=len(parts) - 1):
        yield "".join(part + mark for part, mark in zip(parts, (*marks, ""), strict=True))


def _contractions() -> dict[str, str]:
    full = [stem + ending for ending, stems in _ENDINGS.items() for stem in stems.split()]
    return {short: word for word in (*full, *_SINGLE) for short in _without_apostrophes(word) if short != word}


#: From a contraction that lacks an apostrophe to its spelling. Those that would be another word without it (it's,
#: we're, he'll, I'd, who're, let's) are left out.
CONTRACTIONS = _contractions()


@lru_cache(maxsize=1 << 16)
def normalise(answer: str) -> str:
    """Bring an answer into the form in which answers are compared.

    Args:
        answer: as a person or a model gave it; may be empty.

    Returns:
        Words joined by one blank; may be empty.
    """
    text = " ".join(answer.split())
    number = _COMMA_IN_NUMBER.search(text) is not None
    blank = {mark: not number and f"{mark} " not in text and f" {mark}" not in text for mark in _PUNCTUATION}
    text = text.translate({ord(mark): " " if becomes_blank else None for mark, becomes_blank in blank.items()})
    words = (_DIGITS.get(word, word) for word in _PERIOD.sub("", text).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)

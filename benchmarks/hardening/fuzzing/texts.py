"""Texts that nobody should write into a column: symbols, separators, control characters, far too many words."""

from __future__ import annotations

import random

from hypothesis import strategies as st

#: What means something to the vocabulary, a column, a results file, a terminal or Unicode, as text.
MARKS = (
    *("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<blank>", "_", "<|endoftext|>", "madeupword0000", "<person>"),
    *("<bin_7>", "<bin_0> <bin_1> <bin_2> <bin_3>", "<code_3>", "5", "256", "50256", "\u0120", "\u010a"),
    *("&&", "|!+", "1.0|!+yes", "0.3|!+", "nan|!+x", "|||", "S-0\t", "D-1\t0.0\tx", "P-1\t-0.5"),
    *("\t", "\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b[2J", "\x1c", "\x7f", "\x85", "\x9b31m"),
    *("\u00a0", "\u200b", "\u2028", "\u2029", "\u202e", "\ufeff", "\ufffd", "\ud800", "\udfff", "\U0010ffff"),
    *("\u00c9", "e\u0301", "\u0130", "\u00df", "\u72ac", "\U0001f468\u200d\U0001f469", "\u0663", "\u00b2"),
    *("?", "...", ",", "-", "/", "'", '"', "\\", "%s", "{}", "$HOME", "`id`", " ", ""),
)
_WORDS = ("a", "dog", "on", "the", "mat", "What", "colour", "is", "it", "two", "Left", "yes", "entailment", "none")
_LETTERS = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=9_900))
_ENDLESS = (
    "word " * 10_000,
    "&&".join(["a dog"] * 5_000),
    " ".join(f"w{number}" for number in range(1_500)),
    "a" * 20_000,
    _LETTERS,
    "\u72ac" * 3_000,
    "?" * 9_000,
    " " * 10_000,
    "<s>" * 3_000,
)


def texts() -> st.SearchStrategy[str]:
    """Draw a text of words, marks and anything else."""
    pieces = st.one_of(st.sampled_from(_WORDS), st.sampled_from(MARKS), st.text(max_size=12))
    joined = st.builds(str.join, st.sampled_from((" ", "", "&&")), st.lists(pieces, max_size=7))
    return st.one_of(st.sampled_from(_WORDS), joined, joined, st.sampled_from(_ENDLESS))

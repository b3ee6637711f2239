"""Cuts captions into the words that the metrics count: the COCO tools' Java tokenizer and its Python stand-in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pycocoevalcap.tokenizer import ptbtokenizer

from narvl.errors import UsageError

#: The names under which results files tell which tokenizer was used. Scores differ between the two.
PTB = "PTB (Stanford CoreNLP 3.4.1)"
PYTHON = "Python stand-in for PTB"

JAR = Path(ptbtokenizer.__file__).parent / ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR

_DROPPED = frozenset(ptbtokenizer.PUNCTUATIONS)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PLAIN = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "."}
)
_TOKEN = re.compile(
    r"(?<![\w.])(?:[^\W\d_]\.){2,}(?!\w)"  # p.m., u.s.
    r"|\d+(?:[.,:/]\d+)+"  # 3.5, 1,000, 10:30, 1/2
    r"|\w+(?:[-/.&@']\w+)*"  # words, with inner hyphens, slashes, dots and apostrophes
    r"|'(?:s|re|ve|ll|d|m)(?!\w)"  # a contraction written apart from its word: boy 's
    r"|[^\w\s]"
)
_CONTRACTION = re.compile(r"(?<=\w)(?=(?:n't|'(?:s|re|ve|ll|d|m))$)")


def tokenize_ptb(captions: Sequence[str]) -> list[str]:
    """Tokenize captions as the COCO tools do, by Stanford's Java tokenizer.

    The class of pycocoevalcap is not used for it: that one writes into its own installed folder, lets the locale choose
    the encoding, prints, and returns fewer captions when Java fails.

    Args:
        captions: plain text.

    Returns:
        For each caption its tokens, lower-cased, without punctuation, joined by one blank.

    Raises:
        UsageError: Java fails.
    """
    command = ["java", "-cp", str(JAR), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "utf-8"]
    text = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8")
    lines = done.stdout.split("\n")[:-1]
    if done.returncode != 0 or len(lines) != len(captions):
        raise UsageError(
            f"the PTB tokenizer returned {len(lines)} of {len(captions)} captions and exit code {done.returncode}: "
            f"{done.stderr.strip()[-300:]!r}. Repair Java, or take it off the PATH to use the Python tokenizer."
        )
    return [" ".join(token for token in line.split() if token not in _DROPPED) for line in lines]


def tokenize_python(captions: Sequence[str]) -> list[str]:
    """Tokenize captions without Java, close to :func:`tokenize_ptb`: equal on plain words, not on rarer symbols.

    Args:
        captions: plain text.

    Returns:
        For each caption its tokens, lower-cased, without punctuation, joined by one blank.
    """
    return [" ".join(_tokens(caption)) for caption in captions]


def _tokens(caption: str) -> list[str]:
    words: list[str] = []
    for token in _TOKEN.findall(caption.lower().translate(_PLAIN)):
        words += _CONTRACTION.sub(" ", _BRACKETS.get(token, token)).split()
    return [word for word in words if word not in _DROPPED and word != '"']

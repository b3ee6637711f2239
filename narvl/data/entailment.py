"""Entailment rows: from the TSV's columns to prompt and answer."""

from __future__ import annotations

from collections.abc import Mapping

from narvl.data.sample import Example
from narvl.data.text import clean_statement
from narvl.errors import DataError

#: Each label and the word that the model says for it; each is one token of GPT-2's BPE.
ANSWER_OF: Mapping[str, str] = {"entailment": "yes", "contradiction": "no", "neutral": "maybe"}
ANSWERS = tuple(ANSWER_OF.values())


def prompt(hypothesis: str, caption: str | None, max_words: int) -> str:
    """Write the prompt of a hypothesis.

    Args:
        hypothesis: as people wrote it.
        caption: a caption of the image to tell the model as well; None for none.
        max_words: words of each that are kept.

    Raises:
        DataError: the hypothesis is empty, or the caption that was asked for.
    """
    text2 = clean_statement(hypothesis, max_words)
    if not text2:
        raise DataError(f"the hypothesis is {hypothesis!r}: nothing is left to judge. Write words or drop the row.")
    if caption is None:
        return f' does the image describe " {text2} "?'
    text1 = clean_statement(caption, max_words)
    if not text1:
        raise DataError(f"the caption is {caption!r}, but --add-caption asks for it. Write one or drop --add-caption.")
    return f' can image and text1 " {text1} " imply text2 " {text2} "?'


def label(fields: list[str]) -> str | None:
    """Return a row's answer, ``yes``, ``no`` or ``maybe``; None where the column is empty.

    Raises:
        DataError: the label is another word.
    """
    text = fields[5].strip().lower()
    if not text:
        return None
    answer = ANSWER_OF.get(text, text)
    if answer not in ANSWERS:
        raise DataError(f"the label (column 6) is {text!r}. Write one of {', '.join(ANSWER_OF)}.")
    return answer


def example(fields: list[str], labelled: bool, max_words: int, add_caption: bool) -> Example:
    """Turn a row into an example.

    Args:
        fields: the row (``narvl.data.tsv.COLUMNS["entailment"]``).
        labelled: whether the row must have a label.
        max_words: words of hypothesis and caption that are kept.
        add_caption: whether the prompt tells the caption.

    Raises:
        DataError: a text is empty, or the label missing or unknown.
    """
    answer = label(fields)
    if labelled and answer is None:
        raise DataError(f"the label (column 6) is empty. Write one of {', '.join(ANSWER_OF)} or drop the row.")
    return Example(
        prompt=prompt(fields[3], fields[4] if add_caption else None, max_words),
        target=f" {answer}" if answer else "",
        image=fields[2],
    )

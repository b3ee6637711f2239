"""VQA's answer normalisation: worked examples of the official rules, one group a rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.evaluation.normalisation import CONTRACTIONS, normalise

CASE_AND_BLANKS = {"Yes": "yes", "  a\tRED\n kite ": "red kite", "": "", " \t\n": ""}
ARTICLES = {"the dog": "dog", "a dog": "dog", "an apple": "apple", "The": "", "A": "", "theatre": "theatre"}
DIGITS = {
    "zero": "0",
    "none": "0",
    "Two": "2",
    "ten": "10",
    "one of the two": "1 of 2",
    "eleven": "eleven",
    "twos": "twos",
    "2": "2",
}
CONTRACTED = {
    "dont": "don't",
    "dont walk": "don't walk",
    "cant": "can't",
    "thats": "that's",
    "youre": "you're",
    "theyve": "they've",
    "wholl": "who'll",
    "couldve": "could've",
    "couldntve": "couldn't've",
    "couldn'tve": "couldn't've",
    "oclock": "o'clock",
    "don't": "don't",
    "well": "well",  # not we'll
    "its": "its",
    "were": "were",
    "hell": "hell",
    "shed": "shed",
    "id": "id",
    "girl's": "girl's",
    "girls": "girls",
}
PUNCTUATION = {
    "yes!": "yes",
    "black/white": "black white",
    "black-white": "black white",
    "black , white": "black white",
    "yes, it is": "yes it is",
    "(left)": "left",
    '"stop"': "stop",
    "left_turn": "left turn",
    "2:50 pm": "2:50 pm",
    "girl's bag": "girl's bag",
    "$5": "$5",
    "50%": "50%",
    "well-known - black-white": "wellknown blackwhite",  # one hyphen beside a blank: all are removed
    "a-b": "b",  # the article stands alone once the hyphen is a blank
}
PERIODS = {
    "dog.": "dog",
    "2.5": "2.5",
    "3.": "3",
    ".5": ".5",
    "p.m.": "pm",
    "dr. pepper": "dr pepper",
    "...": "",
}
COMMAS_IN_NUMBERS = {
    "1,000": "1000",
    "100,978": "100978",
    "1,000,000": "1000000",
    "1,000-2,000": "10002000",  # as the official program has it: no mark becomes a blank beside such a number
    "2, 3": "2 3",
    "red,white": "red white",
    "red,3": "red 3",
}
RULES = [CASE_AND_BLANKS, ARTICLES, DIGITS, CONTRACTED, PUNCTUATION, PERIODS, COMMAS_IN_NUMBERS]


@pytest.mark.parametrize(("answer", "expected"), [pair for rule in RULES for pair in rule.items()])
def test_worked_examples(answer, expected):
    assert normalise(answer) == expected


def test_every_contraction_lacks_an_apostrophe_and_nothing_else():
    assert len(CONTRACTIONS) > 120
    for short, full in CONTRACTIONS.items():
        assert short.replace("'", "") == full.replace("'", "") and short.count("'") < full.count("'")
        assert normalise(short) == full and normalise(full) == full


@given(st.text(max_size=30))
def test_any_text_becomes_plain_words(text):
    found = normalise(text)
    assert found == " ".join(found.split())
    assert not set(found) & set('!"()+,-/;<=>?@[\\]_`{}')
    assert not {"a", "an", "the"} & set(found.split())


@given(st.lists(st.sampled_from("the a two dont red box 1,000 p.m. yes!".split()), max_size=5))
def test_case_and_width_of_blanks_do_not_matter(words):
    text = " ".join(words)
    assert normalise(text.upper()) == normalise(text) == normalise("  " + text.replace(" ", " \t ") + "\n")

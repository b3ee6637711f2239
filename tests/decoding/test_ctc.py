from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from narvl.decoding.ctc import collapse_mask, greedy

EOS, A, B, BLANK = 2, 3, 4, 5

paths = st.lists(st.sampled_from([EOS, A, B, BLANK]), min_size=1, max_size=14)


def said(*rows: list[int]) -> Tensor:
    """Log-probabilities (B, N, V + 1) whose best classes are these rows."""
    classes = torch.tensor(rows)
    logits = torch.zeros(*classes.shape, BLANK + 1).scatter(2, classes.unsqueeze(2), 3.0)
    return logits.log_softmax(-1)


def twin(path: list[int], merge: bool) -> list[int]:
    """The collapse, as its definition reads."""
    symbols = [symbol for symbol, _ in itertools.groupby(path)] if merge else path
    tokens = [symbol for symbol in symbols if symbol != BLANK]
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


@pytest.mark.parametrize(
    ("path", "merged", "unmerged"),
    [
        ([A, B, EOS, BLANK], [A, B], [A, B]),
        ([A, A, B, EOS], [A, B], [A, A, B]),
        ([A, BLANK, A, EOS], [A, A], [A, A]),  # a blank keeps equal tokens apart: merge first, then drop
        ([BLANK, A, A, BLANK, BLANK, A], [A, A], [A, A, A]),
        ([BLANK, BLANK, BLANK], [], []),
        ([EOS, A, B], [], []),
        ([A, EOS, B, EOS, A], [A], [A]),  # what follows </s> is cut off
        ([A, BLANK, EOS, EOS, B], [A], [A]),
        ([A, B, A], [A, B, A], [A, B, A]),  # no </s> at all
        ([A], [A], [A]),
    ],
)
def test_worked_examples(path: list[int], merged: list[int], unmerged: list[int]) -> None:
    assert greedy(said(path), BLANK, EOS)[0].tokens.tolist() == merged
    assert greedy(said(path), BLANK, EOS, merge=False)[0].tokens.tolist() == unmerged


@given(path=paths, merge=st.booleans())
def test_equals_the_definition(path: list[int], merge: bool) -> None:
    [decoded] = greedy(said(path), BLANK, EOS, merge)
    assert decoded.tokens.tolist() == twin(path, merge)
    assert decoded.log_probs.shape == decoded.tokens.shape


@given(rows=st.lists(paths, min_size=1, max_size=5), merge=st.booleans())
def test_rows_do_not_touch_each_other(rows: list[list[int]], merge: bool) -> None:
    width = max(map(len, rows))
    rows = [row + [BLANK] * (width - len(row)) for row in rows]
    decoded = greedy(said(*rows), BLANK, EOS, merge)
    assert [row.tokens.tolist() for row in decoded] == [twin(row, merge) for row in rows]


def test_of_merged_queries_the_first_one_s_log_probability_is_given() -> None:
    probabilities = torch.full((1, 4, BLANK + 1), 0.01)
    for query, (symbol, value) in enumerate([(A, 0.6), (A, 0.9), (BLANK, 0.9), (B, 0.7)]):
        probabilities[0, query, symbol] = value
    [decoded] = greedy(probabilities.log(), BLANK, EOS)
    assert decoded.tokens.tolist() == [A, B]
    assert decoded.log_probs.exp().tolist() == pytest.approx([0.6, 0.7])


def test_the_mask_leaves_its_argument_alone() -> None:
    classes = torch.tensor([[A, A, BLANK, A]])
    assert collapse_mask(classes, BLANK).tolist() == [[True, False, False, True]]
    assert collapse_mask(classes, BLANK, merge=False).tolist() == [[True, True, False, True]]
    assert classes.tolist() == [[A, A, BLANK, A]]

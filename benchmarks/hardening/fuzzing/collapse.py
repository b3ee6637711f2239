"""The collapse and CTC beam search on any scores: against the definition, and against all paths."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from hypothesis import strategies as st
from torch import Tensor

from fuzzing.case import Case, refusal
from narvl.decoding.ctc import greedy
from narvl.decoding.parallel import ParallelGenerator
from narvl.errors import DataError

#: ``<s>``, ``<pad>``, ``</s>``, ``<unk>``, and the blank last.
CLASSES = 5
EOS, BLANK = 2, CLASSES - 1
#: More prefixes than there can be: with them, the search drops none.
_ALL_PREFIXES = 400
_TOLERANCE = 1e-3
_LEAST = -3e38

_SCORES = (0.0, 1.0, -1.0, 5.0, -0.0, 1e30, -1e30, 3.4e38, 1e-38, math.inf, -math.inf, math.nan)

Text = tuple[int, ...]
Rows = list[list[list[float]]]


def build(folder: Path) -> list[Case]:
    """Return the cases."""
    score = st.one_of(st.sampled_from(_SCORES), st.floats(-20, 20, width=32), st.floats(width=32))
    plain = st.one_of(st.sampled_from(_SCORES[:4]), st.floats(-20, 20, width=32))
    beam = st.sampled_from((1, 2, 5, _ALL_PREFIXES))
    return [
        Case("greedy", st.tuples(_rows(score, 8), st.booleans()), check_greedy),
        Case("beam", st.tuples(_rows(plain, 4), beam, st.integers(1, CLASSES)), check_beam),
        Case("beam, extreme", st.tuples(_rows(score, 4), beam, st.integers(1, CLASSES)), check_beam),
    ]


def _rows(score: st.SearchStrategy[float], most: int) -> st.SearchStrategy[Rows]:
    query = st.lists(score, min_size=CLASSES, max_size=CLASSES)
    return st.integers(1, most).flatmap(
        lambda queries: st.lists(st.lists(query, min_size=queries, max_size=queries), min_size=1, max_size=2)
    )


def collapsed(path: Sequence[int], merge: bool = True) -> Text:
    """Collapse a path as the definition reads: merge equal neighbours, drop blanks, cut at ``</s>``."""
    symbols = [symbol for symbol, _ in itertools.groupby(path)] if merge else list(path)
    tokens = [symbol for symbol in symbols if symbol != BLANK]
    return tuple(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)


def check_greedy(given: tuple[Rows, bool]) -> str:
    """Compare the collapse of each query's best class with its definition."""
    rows, merge = given
    scores = torch.tensor(rows)
    best, classes = scores.max(dim=-1)
    for row, path, values, decoded in zip(
        scores, classes.tolist(), best.tolist(), greedy(scores, BLANK, EOS, merge), strict=True
    ):
        assert tuple(decoded.tokens.tolist()) == collapsed(path, merge)
        assert len(decoded.log_probs) == len(decoded.tokens)
        for query, symbol, value in zip(row.tolist(), path, values, strict=True):
            assert math.isnan(value) or (query[symbol] == value and value == max(query))
    return "text"


class _Model:
    """Stands for a model whose logits are given."""

    alignment = "ctc"

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(self, vocabulary: Any) -> tuple[Tensor, dict[str, None]]:
        return self.logits, {"padding": None}


def check_beam(given: tuple[Rows, int, int]) -> str:
    """Compare the search's texts and their probabilities with those over all paths."""
    rows, beam, top_k = given
    logits = torch.tensor(rows)
    log_probs = torch.log_softmax(logits, dim=-1)
    generator = ParallelGenerator(Dictionary(), beam=beam, top_k=top_k, backend="plain")
    sample = {"id": torch.arange(len(rows)), "net_input": {}, "split": "test"}
    try:
        found = generator.generate([_Model(logits)], sample)  # type: ignore[list-item]
    except DataError as error:
        assert bool(log_probs.isnan().any()), "numbers, but refused"
        return refusal(error, "test, rows ", "NaN")
    assert not bool(log_probs.isnan().any()), "no numbers, but decoded"
    for row, hypotheses in zip(log_probs.tolist(), found, strict=True):
        _check_texts(row, hypotheses, beam, top_k)
    return "texts"


def _check_texts(row: list[list[float]], hypotheses: list[dict[str, Any]], beam: int, top_k: int) -> None:
    truth = _texts(row)
    assert 1 <= len(hypotheses) <= beam
    scores = [hypothesis["score"] for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)
    said = [tuple(hypothesis["tokens"].tolist()) for hypothesis in hypotheses]
    assert len(set(said)) == len(said)
    for text, score in zip(said, scores, strict=True):
        assert text[-1] == EOS and BLANK not in text
        assert _close(score, truth[text[:-1]]), (text, score, truth[text[:-1]])
    if beam == _ALL_PREFIXES and top_k >= CLASSES - 1:
        assert _close(scores[0], max(truth.values())), (scores[0], max(truth.values()))


def _close(one: float, other: float) -> bool:
    if one == -math.inf and other < _LEAST:  # in single precision there is nothing below
        return True
    return one == other or abs(one - other) <= _TOLERANCE * max(1.0, abs(other))


def _texts(row: list[list[float]]) -> dict[Text, float]:
    """Return the log-probability of every text, over all of its paths."""
    totals: defaultdict[Text, list[float]] = defaultdict(list)
    for path in itertools.product(range(CLASSES), repeat=len(row)):
        totals[collapsed(path)].append(sum(query[symbol] for query, symbol in zip(row, path, strict=True)))
    return defaultdict(lambda: -math.inf, {text: _log_sum(values) for text, values in totals.items()})


def _log_sum(values: list[float]) -> float:
    most = max(values)
    return most if most == -math.inf else most + math.log(math.fsum(math.exp(value - most) for value in values))

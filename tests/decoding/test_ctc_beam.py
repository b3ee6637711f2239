from __future__ import annotations

import itertools
import math
import sys
from collections import defaultdict
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.decoding import ctc_backends
from narvl.decoding.ctc import greedy
from narvl.decoding.ctc_beam import DecodedText, ctc_beam_search, score_texts
from narvl.decoding.ctc_search import Choices, plain_search, top_choices
from narvl.errors import UsageError

EOS, A, B, BLANK = 0, 1, 2, 3
#: More than the prefixes of any case below.
ALL = 1000

Texts = dict[tuple[int, ...], float]


@pytest.fixture(params=["plain", "flashlight", "ctcdecode"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every backend; in place of ctcdecode, which no registry offers, a stand-in of its documented interface."""
    if request.param == "flashlight":
        pytest.importorskip("flashlight.lib.text.decoder")
    if request.param == "ctcdecode":
        module: Any = ModuleType("ctcdecode")
        module.CTCBeamDecoder = StandIn
        monkeypatch.setitem(sys.modules, "ctcdecode", module)
        monkeypatch.setattr(ctc_backends, "_installed", lambda name: True)
    return str(request.param)


class StandIn:
    """ctcdecode's interface: arguments, shapes, and rubbish beyond a result's length; it searches by our own means."""

    def __init__(
        self,
        labels: list[str],
        model_path: str | None = None,
        alpha: float = 0,
        beta: float = 0,
        cutoff_top_n: int = 40,
        cutoff_prob: float = 1.0,
        beam_width: int = 100,
        num_processes: int = 4,
        blank_id: int = 0,
        log_probs_input: bool = False,
    ) -> None:
        assert model_path is None and blank_id == 0 and log_probs_input and cutoff_prob == 1.0
        assert len(set(labels)) == len(labels) <= cutoff_top_n
        self.labels, self.beam = labels, beam_width

    def decode(self, probs: Tensor, seq_lens: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch, queries, columns = probs.shape
        assert columns == len(self.labels) and seq_lens is None and probs.isfinite().all()
        results = torch.full((batch, self.beam, queries), 77, dtype=torch.int32)
        lengths = torch.zeros(batch, self.beam, dtype=torch.int32)
        for row, table in enumerate(probs):
            for place, said in enumerate(plain_search(Choices(torch.arange(1, columns), table), self.beam)):
                results[row, place, : len(said)] = torch.tensor(said, dtype=torch.int32)
                lengths[row, place] = len(said)
        return results, torch.zeros(batch, self.beam), torch.zeros_like(results), lengths


def every_path(log_probs: Tensor) -> Texts:
    """The probability of each text, path by path, as the definition reads: merge, drop blanks, cut at ``</s>``."""
    texts: Texts = defaultdict(float)
    values = log_probs.double().exp().tolist()
    for path in itertools.product(range(log_probs.size(1)), repeat=log_probs.size(0)):
        said = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)
        text = said[: said.index(EOS)] if EOS in said else said
        texts[text] += math.prod(row[symbol] for row, symbol in zip(values, path, strict=True))
    return {text: probability for text, probability in texts.items() if probability > 0}


def found(row: list[DecodedText]) -> Texts:
    assert [text.log_prob for text in row] == sorted((text.log_prob for text in row), reverse=True)
    result = {tuple(text.tokens.tolist()): math.exp(text.log_prob) for text in row}
    assert len(result) == len(row), "a text must be given once"
    return result


def random(seed: int, *shape: int, spread: float = 2.0) -> Tensor:
    return (spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def peaky(seed: int, batch: int = 24, queries: int = 20, symbols: int = 300) -> Tensor:
    """As a trained model speaks: a few classes have most of each query's probability, and the last says the end."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, queries, symbols, generator=generator)
    logits[..., BLANK] += 3
    favoured = torch.randint(BLANK, symbols, (batch, queries, 4), generator=generator)
    logits.scatter_add_(2, favoured, 12 * torch.rand(batch, queries, 4, generator=generator))
    logits[..., EOS] = -5
    logits[:, -1, EOS] = 15
    return logits.log_softmax(-1)


class TestAgainstAllPaths:
    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10**6), queries=st.integers(1, 5), forbidden=st.sets(st.integers(0, 2), max_size=2))
    def test_texts_and_probabilities(self, seed: int, queries: int, forbidden: set[int]) -> None:
        """A beam that holds all prefixes finds every text, with the sum over its paths."""
        logits = random(seed, 2, queries, 4)
        logits[..., list(forbidden)] = float("-inf")
        log_probs = logits.log_softmax(-1)
        for row, expected in zip(ctc_beam_search(log_probs, BLANK, EOS, ALL, 3, "plain"), log_probs, strict=True):
            texts = every_path(expected)
            assert found(row) == pytest.approx(texts, rel=1e-4)
            assert sum(texts.values()) == pytest.approx(1.0)

    def test_every_backend(self, backend: str) -> None:
        log_probs = random(5, 6, 5, 4)
        log_probs[3:, :, A] = float("-inf")
        log_probs = log_probs.log_softmax(-1)
        for row, expected in zip(ctc_beam_search(log_probs, BLANK, EOS, ALL, 3, backend), log_probs, strict=True):
            assert found(row) == pytest.approx(every_path(expected), rel=1e-4)

    @pytest.mark.parametrize("beam", [1, 2, 3])
    def test_a_narrow_beam_gives_exact_probabilities_too(self, backend: str, beam: int) -> None:
        """Paths that the search dropped still count: no score depends on the beam."""
        log_probs = random(8, 10, 5, 4)
        for row, expected in zip(ctc_beam_search(log_probs, BLANK, EOS, beam, 2, backend), log_probs, strict=True):
            texts = every_path(expected)
            assert 1 <= len(row) <= beam
            assert found(row) == pytest.approx({text: texts[text] for text in found(row)}, rel=1e-4)

    def test_each_token_s_probability_given_those_before(self) -> None:
        """The chain of beginnings: of the texts that begin "a", how many begin "a b"?"""
        [log_probs] = random(2, 1, 5, 4)
        texts = every_path(log_probs)
        for text in ctc_beam_search(log_probs.unsqueeze(0), BLANK, EOS, ALL, 3, "plain")[0]:
            tokens = tuple(text.tokens.tolist())
            begins = [
                sum(probability for other, probability in texts.items() if other[:length] == tokens[:length])
                for length in range(len(tokens) + 1)
            ]
            expected = [after / before for before, after in itertools.pairwise(begins)]
            assert text.log_probs.exp().tolist() == pytest.approx(expected, rel=1e-4)


class TestWorkedExamples:
    def test_many_paths_beat_the_best_one(self) -> None:
        """Two queries, blank 0.6 and "a" 0.4 each: the best path says nothing (0.36), the three others "a" (0.64)."""
        log_probs = torch.tensor([[[0.0, 0.4, 0.0, 0.6]] * 2]).log()
        assert greedy(log_probs, BLANK, EOS)[0].tokens.tolist() == []
        assert found(ctc_beam_search(log_probs, BLANK, EOS, 2, 3, "plain")[0]) == pytest.approx({(A,): 0.64, (): 0.36})

    def test_a_blank_keeps_equal_tokens_apart(self, backend: str) -> None:
        probabilities = [[0.0, 0.9, 0.0, 0.1], [0.0, 0.3, 0.0, 0.7], [0.0, 0.8, 0.0, 0.2]]
        row = ctc_beam_search(torch.tensor([probabilities]).log(), BLANK, EOS, 5, 3, backend)[0]
        assert found(row)[A, A] == pytest.approx(0.9 * 0.7 * 0.8)

    def test_what_is_said_after_the_end_does_not_tell_texts_apart(self, backend: str) -> None:
        """ "a </s> b", "a </s>", "a </s> a" and "a" are one text, and outweigh "b"."""
        probabilities = [[0.0, 0.55, 0.45, 0.0], [0.9, 0.0, 0.0, 0.1], [0.1, 0.3, 0.3, 0.3]]
        row = ctc_beam_search(torch.tensor([probabilities]).log(), BLANK, EOS, ALL, 3, backend)[0]
        texts = found(row)
        after_blank = 0.1  # the second query says no </s>: the third may go on
        assert texts[A,] == pytest.approx(0.55 * (0.9 + after_blank * (0.1 + 0.3)))
        assert texts[A, B] == pytest.approx(0.55 * after_blank * 0.3)
        assert next(iter(texts)) == (A,)
        assert all(EOS not in text for text in texts)

    def test_nothing_but_blanks_is_an_empty_text(self, backend: str) -> None:
        log_probs = torch.tensor([[[0.0, 0.0, 0.0, 1.0]] * 3]).log()
        [text] = ctc_beam_search(log_probs, BLANK, EOS, 4, 2, backend)[0]
        assert (text.tokens.tolist(), text.log_probs.tolist(), text.log_prob) == ([], [], 0.0)

    def test_one_prefix_and_certain_queries_equal_greedy(self, backend: str) -> None:
        log_probs = (3 * peaky(4, batch=12)).log_softmax(-1)
        rows = ctc_beam_search(log_probs, BLANK, EOS, 1, 3, backend)
        same = [
            text.tokens.tolist() == best.tokens.tolist()
            for [text], best in zip(rows, greedy(log_probs, BLANK, EOS), strict=True)
        ]
        assert all(same)


class TestTopK:
    def test_only_the_top_k_and_the_blank_may_be_said(self, backend: str) -> None:
        log_probs = random(3, 4, 6, 9)
        ranks = log_probs.clone()
        ranks[..., BLANK] = float("-inf")
        top = ranks.topk(2, dim=-1).indices
        assert log_probs.argsort(-1, descending=True)[..., 2:].eq(BLANK).any(), "the blank must be improbable somewhere"
        for row, sayable in zip(ctc_beam_search(log_probs, BLANK, EOS, ALL, 2, backend), top, strict=True):
            # With two tokens a query, what is said at the end can only be one of the last queries'.
            said = {token for text in row for token in text.tokens.tolist()}
            assert said <= set(sayable.flatten().tolist())
            assert () in found(row)

    @settings(deadline=None)
    @given(seed=st.integers(0, 10**6), top_k=st.integers(1, 12))
    def test_choices(self, seed: int, top_k: int) -> None:
        """As the definition reads: of each query, the blank and its most probable tokens that may be said."""
        log_probs = random(seed, 2, 3, 8)
        log_probs[1, :, 4:] = float("-inf")
        for choices, table in zip(top_choices(log_probs, BLANK, top_k), log_probs, strict=True):
            for query, expected in zip(choices.log_probs.tolist(), table.tolist(), strict=True):
                assert query[0] == expected[BLANK]
                ranked = sorted((value, token) for token, value in enumerate(expected) if token != BLANK)[-top_k:]
                allowed = {token: value for value, token in ranked if value > -math.inf}
                given_ = {
                    choices.tokens([column])[0]: value
                    for column, value in enumerate(query)
                    if column and value > -math.inf
                }
                assert given_ == allowed

    def test_forbidden_symbols_are_never_said(self, backend: str) -> None:
        """Even where fewer may be said than the top-k takes."""
        log_probs = random(9, 3, 6, 40)
        log_probs[..., 5:] = float("-inf")
        log_probs = log_probs.log_softmax(-1)
        for row in ctc_beam_search(log_probs, BLANK, EOS, 50, 20, backend):
            assert row
            assert all(token < 5 for text in row for token in text.tokens.tolist())


class TestBackends:
    def test_every_sequence_in_the_order_of_its_probability(self, backend: str) -> None:
        """The searches themselves, before any text is scored: all sequences, by the sum over their paths."""
        for choices in top_choices(random(6, 8, 5, 4), BLANK, 3):
            found_by = ctc_backends.find(backend)(choices, ALL)
            expected = plain_search(choices, ALL)
            assert len(expected) > 100
            assert {tuple(said) for said in found_by} == {tuple(said) for said in expected}
            assert found_by[:40] == expected[:40]  # further down, probabilities are equal up to rounding

    def test_the_same_texts_and_scores(self, backend: str) -> None:
        """On outputs such as a trained model's; the searches' beams hold the same."""
        log_probs = peaky(1)
        plain = ctc_beam_search(log_probs, BLANK, EOS, 5, 10, "plain")
        other = ctc_beam_search(log_probs, BLANK, EOS, 5, 10, backend)
        for row, expected in zip(other, plain, strict=True):
            assert row[0].tokens.tolist() == expected[0].tokens.tolist()
            assert row[0].log_prob == expected[0].log_prob
            shared = set(found(row)) & set(found(expected))
            assert len(shared) >= 3
            assert {text: found(row)[text] for text in shared} == {text: found(expected)[text] for text in shared}

    def test_a_beam_finds_what_is_no_less_probable_than_greedy_s(self, backend: str) -> None:
        log_probs = peaky(2)
        better = 0
        for place, (row, best) in enumerate(
            zip(
                ctc_beam_search(log_probs, BLANK, EOS, 5, 10, backend),
                greedy(log_probs, BLANK, EOS),
                strict=True,
            )
        ):
            [alone] = score_texts(log_probs, [place], [best.tokens.tolist()], BLANK, EOS)
            assert row[0].log_prob >= alone.log_prob - 1e-5
            better += row[0].log_prob > alone.log_prob + 1e-3
        assert better > 0, "a beam that never helps shows nothing"

    def test_rows_do_not_touch_each_other(self, backend: str) -> None:
        log_probs = peaky(3, batch=5)
        together = ctc_beam_search(log_probs, BLANK, EOS, 4, 6, backend)
        for place, row in enumerate(together):
            [alone] = ctc_beam_search(log_probs[place : place + 1], BLANK, EOS, 4, 6, backend)
            assert found(alone) == pytest.approx(found(row), rel=1e-5)

    def test_auto_takes_flashlight_where_it_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for installed, search in ((True, ctc_backends.flashlight_search), (False, plain_search)):
            monkeypatch.setattr(ctc_backends, "_installed", lambda name, installed=installed: installed)
            assert ctc_backends.find("auto") is search

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"beam": 0}, "--ctc-beam 0: give 1 to 1,000,000 prefixes"),
            ({"beam": 10**12}, "--ctc-beam 1000000000000: give 1 to"),
            ({"top_k": 0}, "--ctc-top-k 0: give 1 or more"),
            ({"backend": "kenlm"}, "--ctc-backend kenlm: give one of auto, plain, flashlight, ctcdecode"),
        ],
    )
    def test_values_out_of_range_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            ctc_beam_search(peaky(1), BLANK, EOS, **{"beam": 5, "top_k": 5, **options})

    @pytest.mark.parametrize(
        ("name", "remedy"), [("flashlight", "pip install flashlight-text"), ("ctcdecode", "parlance/ctcdecode")]
    )
    def test_a_missing_package_is_named_with_the_remedy(
        self, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
    ) -> None:
        monkeypatch.setattr(ctc_backends, "find_spec", lambda module: None)
        with pytest.raises(UsageError, match=f"--ctc-backend {name}: it is not installed.*{remedy}.*plain"):
            ctc_backends.find(name)

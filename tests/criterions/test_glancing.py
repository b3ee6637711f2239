"""Glancing: the likeliest path against enumeration, which queries are shown what, and the criterion that does it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.criterions._glancing import best_paths, show_mistakes
from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion, References, likeliest_references
from narvl.errors import UsageError

#: Symbols of the small cases: three tokens and the blank, the last.
CLASSES, BLANK = 4, 3

seeds = st.integers(0, 1000)


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def collapse(path: Sequence[int]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


def likelihoods(logits: Tensor) -> dict[tuple[int, ...], float]:
    """The log-probability of every path of one sample (N, V + 1)."""
    table = logits.log_softmax(-1).tolist()
    paths = itertools.product(range(CLASSES), repeat=len(table))
    return {path: sum(table[query][symbol] for query, symbol in enumerate(path)) for path in paths}


class TestBestPaths:
    @settings(max_examples=60, deadline=None)
    @given(text=st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=3), queries=st.integers(5, 6), seed=seeds)
    def test_no_path_of_the_target_is_likelier(self, text: list[int], queries: int, seed: int) -> None:
        logits = random_logits(1, queries, CLASSES, seed=seed)
        paths = {path: value for path, value in likelihoods(logits[0]).items() if collapse(path) == text}
        found = best_paths(logits, torch.tensor([text]), torch.tensor([len(text)]), BLANK)
        assert paths[tuple(found[0].tolist())] == pytest.approx(max(paths.values()), abs=1e-5)

    def test_neither_padding_nor_others_in_the_batch_count(self) -> None:
        logits = random_logits(2, 5, CLASSES)
        target, lengths = torch.tensor([[0, 1, 2, 2], [2, 2, 1, 0]]), torch.tensor([2, 3])
        together = best_paths(logits, target, lengths, BLANK)
        for row, length in enumerate(lengths.tolist()):
            alone = best_paths(logits[[row]], target[[row], :length], lengths[[row]], BLANK)
            assert torch.equal(together[[row]], alone)

    def test_targets_out_of_reach_are_no_error(self) -> None:
        found = best_paths(random_logits(1, 2, CLASSES), torch.tensor([[0, 0, 0]]), torch.tensor([3]), BLANK)
        assert found.shape == (1, 2)

    def test_half_precision(self) -> None:
        logits = random_logits(3, 6, CLASSES).half()
        target, lengths = torch.tensor([[0, 1, 2]] * 3), torch.tensor([3, 3, 2])
        assert torch.equal(
            best_paths(logits, target, lengths, BLANK), best_paths(logits.double(), target, lengths, BLANK)
        )


class TestShowMistakes:
    @settings(max_examples=40, deadline=None)
    @given(share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), seed=seeds)
    def test_a_share_of_the_mistakes(self, share: float, seed: int) -> None:
        torch.manual_seed(seed)
        logits = random_logits(4, 8, CLASSES, seed=seed)
        target, lengths = torch.tensor([[0, 1, 2]] * 4), torch.tensor([3, 2, 1, 0])
        shown = show_mistakes(logits, target, lengths, BLANK, share)
        path = best_paths(logits, target, lengths, BLANK)
        mistakes = (path != logits.argmax(-1)).sum(1).tolist()
        expected = [round(share * number) if length else 0 for number, length in zip(mistakes, lengths, strict=True)]
        assert shown.where.sum(1).tolist() == expected
        assert torch.equal(shown.symbols, path)

    def test_every_query_may_be_shown(self) -> None:
        logits = torch.zeros(1, 4, CLASSES)
        logits[..., 2] = 9.0  # says 2; the target is 0 1, so all four are mistakes
        draws = [
            show_mistakes(logits, torch.tensor([[0, 1]]), torch.tensor([2]), BLANK, 0.25).where for _ in range(100)
        ]
        assert all(int(draw.sum()) == 1 for draw in draws)
        assert torch.stack(draws).any(0).all()


class TestLikeliestReferences:
    TOKENS = torch.tensor([[[0, 1, 2], [2, 1, 0], [1, 0, 0], [0, 0, 0]]])
    LENGTHS = torch.tensor([[3, 3, 2, 0]])

    @pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
    @pytest.mark.parametrize("weights", [(1, 1, 1, 0), (0.01, 1, 0.2, 0), (0, 0, 0, 0), (1, 0, 0, 1)])
    def test_the_largest_share(self, temperature: float, weights: tuple[float, ...]) -> None:
        counted = weights if any(weights) else (1, 1, 1, 0)
        for seed in range(5):
            logits = random_logits(1, 4, CLASSES, seed=seed)
            paths = likelihoods(logits[0])
            shares = []
            for tokens, length, weight in zip(self.TOKENS[0].tolist(), self.LENGTHS[0].tolist(), counted, strict=True):
                said = [value for path, value in paths.items() if length and collapse(path) == tokens[:length]]
                likelihood = torch.tensor(said).logsumexp(0) / temperature if said else torch.tensor(-torch.inf)
                shares.append(float(torch.tensor(float(weight)).log() + likelihood))
            best = shares.index(max(shares))
            references = References(self.TOKENS, self.LENGTHS, torch.tensor([weights], dtype=torch.float32))
            target, length = likeliest_references(logits, references, BLANK, temperature)
            assert (target[0].tolist(), int(length)) == (self.TOKENS[0, best].tolist(), int(self.LENGTHS[0, best]))

    def test_without_a_reference_that_can_be_said_there_is_none(self) -> None:
        references = References(torch.tensor([[[0, 0, 0]]]), torch.tensor([[3]]), torch.ones(1, 1))
        assert int(likeliest_references(random_logits(1, 4, CLASSES), references, BLANK)[1]) == 0


@pytest.fixture(scope="module")
def model(scenes: Path, build: Callable) -> Any:
    return build(scenes, "narvl_nano", "--dropout", "0.0", "--patch-image-size", "64")[1]


@pytest.fixture(scope="module")
def sample(model: Any) -> dict[str, Any]:
    random = torch.Generator().manual_seed(1)
    inputs = {
        "src_tokens": torch.randint(4, model.blank, (2, 5), generator=random),
        "src_lengths": torch.tensor([5, 5]),
        "patch_images": torch.rand((2, 3, 64, 64), generator=random) * 2 - 1,
    }
    targets = torch.tensor([[5, 6, 2], [7, 2, 1]])
    return {"net_input": inputs, "target": targets, "target_lengths": torch.tensor([3, 2]), "ntokens": 5}


class TestModel:
    def logits(self, model: Any, sample: dict[str, Any], **config: Any) -> Tensor:
        """Those that the criterion learns from."""
        seen: list[Tensor] = []

        class Watched(QueryCTCCriterion):
            def losses(self, logits: Tensor, *rest: Any) -> Any:
                seen.append(logits.clone())
                return super().losses(logits, *rest)

        Watched(QueryCTCConfig(**config), None)(model, sample)
        return seen[0]

    def test_queries_read_what_they_should_say(self, model: Any, sample: dict[str, Any]) -> None:
        """By hand: a decoder whose queries are the symbols of the likeliest path."""
        model.train()
        with torch.no_grad():
            encoder_out = model.encoder(**sample["net_input"], patch_masks=None)
            plain = model.decoder(None, encoder_out)[0]
            path = best_paths(plain, sample["target"], sample["target_lengths"], model.blank)
            wrong = (path != plain.argmax(-1)).all(1)
            assert wrong.all(), "all queries are shown: an untrained model says nothing right"
            kept = model.decoder.query_embed.weight.clone()
            table = torch.cat([model.decoder.embed_tokens.weight, model.decoder.blank_embed.weight])
            for row in range(2):
                model.decoder.query_embed.weight.copy_(table[path[row]])
                expected = model.decoder(None, encoder_out.select(torch.tensor([row])))[0]
                model.decoder.query_embed.weight.copy_(kept)
                found = self.logits(model, sample, glancing=1.0)[[row]]
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(self.logits(model, sample), plain, rtol=1e-4, atol=1e-4)

    def test_tokens_that_are_shown_learn(self, model: Any, sample: dict[str, Any]) -> None:
        model.train().zero_grad()
        QueryCTCCriterion(QueryCTCConfig(glancing=1.0), None)(model, sample)[0].backward()
        assert model.decoder.query_embed.weight.grad.abs().max() == 0, "no query was read"
        assert model.decoder.embed_tokens.weight.grad[[5, 6, 7]].abs().min() > 0

    @torch.no_grad()
    def test_validation_shows_nothing(self, model: Any, sample: dict[str, Any]) -> None:
        criterion = [QueryCTCCriterion(QueryCTCConfig(glancing=share), None) for share in (0.0, 1.0)]
        model.eval()
        plain, glancing = (each(model, sample)[0] for each in criterion)
        assert torch.equal(plain, glancing)

    def test_without_queries_there_is_nothing_to_show(
        self, scenes: Path, build: Callable, sample: dict[str, Any]
    ) -> None:
        model = build(scenes, "narvl_nano", "--patch-image-size", "64", "--decoder-input", "encoder")[1]
        with pytest.raises(UsageError, match="--glancing 0.5: --decoder-input encoder has no queries to show"):
            QueryCTCCriterion(QueryCTCConfig(glancing=0.5), None)(model, sample)

    @pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
    def test_shares_out_of_range(self, share: float) -> None:
        with pytest.raises(UsageError, match=f"--glancing {share}: give a value from 0"):
            QueryCTCCriterion(QueryCTCConfig(glancing=share), None)

"""Pairs of neighbouring tokens: expected counts against enumeration, their F1, and the loss of the criterion."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narvl.criterions._pairs import expected_all_pairs, expected_pairs, pair_f1, pair_loss
from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion
from narvl.errors import UsageError
from tests.criterions.enumeration import BLANK, CLASSES, all_paths, collapse, random_probs

seeds = st.integers(0, 1000)


def pairs(text: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(text))


class TestExpectedPairs:
    @settings(max_examples=40, deadline=None)
    @given(queries=st.integers(1, 5), seed=seeds)
    def test_counts_are_those_of_all_paths(self, queries: int, seed: int) -> None:
        probs = random_probs(queries, seed)
        kinds = list(itertools.product(range(BLANK), repeat=2))
        expected = [sum(p * pairs(collapse(path)).count(kind) for p, path in all_paths(probs)) for kind in kinds]
        first, second = (torch.tensor([part]) for part in zip(*kinds, strict=True))
        assert expected_pairs(probs, first, second, BLANK)[0].tolist() == pytest.approx(expected)
        assert float(expected_all_pairs(probs, BLANK)) == pytest.approx(sum(expected))

    def test_a_text_said_surely_matches_itself_alone(self) -> None:
        path = torch.tensor([[0, 0, 3, 1, 3, 1, 2]])  # says 0 1 1 2
        probs = torch.nn.functional.one_hot(path, CLASSES).double()
        own, other = torch.tensor([[0, 1, 1, 2]]), torch.tensor([[2, 1, 0, 0]])
        assert float(pair_f1(probs, own, torch.tensor([4]), BLANK)) == pytest.approx(1)
        assert float(pair_f1(probs, other, torch.tensor([4]), BLANK)) == pytest.approx(0)
        # Of its two pairs one is said, of the text's three likewise.
        assert float(pair_f1(probs, torch.tensor([[0, 1, 0, 0]]), torch.tensor([3]), BLANK)) == pytest.approx(2 / 5)

    def test_a_pair_counts_as_often_as_the_target_has_it(self) -> None:
        path = torch.tensor([[0, 1, 0, 1]])
        probs = torch.nn.functional.one_hot(path, CLASSES).double()
        assert float(pair_f1(probs, path, torch.tensor([4]), BLANK)) == pytest.approx(1)
        assert float(pair_f1(probs, torch.tensor([[0, 1, 2, 2]]), torch.tensor([2]), BLANK)) == pytest.approx(2 / 4)

    def test_it_can_be_learned_from(self) -> None:
        logits = random_probs(4, 3).log().requires_grad_()
        target = torch.tensor([[0, 1, 1]])
        f1 = lambda logits: pair_f1(logits.softmax(-1), target, torch.tensor([3]), BLANK)  # noqa: E731
        assert torch.autograd.gradcheck(f1, (logits,))

    def test_samples_of_a_batch_do_not_see_each_other(self) -> None:
        probs = torch.cat([random_probs(5, seed) for seed in range(3)])
        target, lengths = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 0], [1, 0, 0, 0]]), torch.tensor([4, 2, 1])
        matched = pair_f1(probs, target, lengths, BLANK)
        for row in range(3):
            one = pair_f1(probs[[row]], target[[row]], lengths[[row]], BLANK)
            torch.testing.assert_close(matched[[row]], one)


def test_the_reference_that_is_matched_best_counts() -> None:
    probs = torch.cat([random_probs(5, seed) for seed in range(2)])
    tokens = torch.tensor([[[0, 1, 2], [2, 1, 0], [1, 1, 0]], [[1, 2, 0], [0, 1, 0], [2, 0, 1]]])
    lengths = torch.tensor([[3, 3, 0], [3, 2, 3]])
    each = torch.stack([pair_f1(probs, tokens[:, place], lengths[:, place], BLANK) for place in range(3)])
    assert float(each[2, 0]) == 0, "there is no reference"
    torch.testing.assert_close(pair_loss(probs, tokens, lengths, BLANK), 1 - each.max(0).values)


class TestCriterion:
    """``--pairs-after``: Q-CTC before an update, pairs from it on, Q-CTC in validation."""

    #: One sample; its second reference needs six queries.
    TABLES = {
        "tokens": torch.tensor([[[0, 1, 2, 0], [1, 1, 1, 0], [2, 1, 1, 1]]]),
        "lengths": torch.tensor([[3, 4, 1]]),
        "weights": torch.ones(1, 3),
    }

    @pytest.mark.parametrize("several", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
    def test_from_an_update_on(
        self, fixed_logits: Callable, make_sample: Callable, several: bool, dtype: torch.dtype
    ) -> None:
        logits = random_probs(4, 2).log().to(dtype).requires_grad_()
        sample = make_sample(logits, [[0, 1, 2]], **({"references": self.TABLES} if several else {}))
        model = fixed_logits(BLANK, "ctc")
        plain = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None)
        late = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1, pairs_after=3), None)
        expected, size, log = plain(model, sample)
        for update in (0, 2):
            late.set_num_updates(update)
            assert torch.equal(late(model, sample)[0], expected)
        late.set_num_updates(3)
        loss, matched_size, matched_log = late(model, sample)
        exact = logits.double() if dtype == torch.float64 else logits.float()
        lengths = torch.tensor([[3, 0, 1]]) if several else torch.tensor([[3]])
        tokens = self.TABLES["tokens"] if several else torch.tensor([[[0, 1, 2]]])
        torch.testing.assert_close(loss, pair_loss(exact.softmax(-1), tokens, lengths, BLANK).sum())
        assert (matched_size, matched_log["nll_loss"]) == (size, log["nll_loss"])
        [gradient] = torch.autograd.grad(loss, logits)
        assert gradient.isfinite().all() and gradient.abs().max() > 0
        assert torch.equal(late(model.eval(), sample)[0], plain(model, sample)[0]), "validation judges by Q-CTC"
        model.train()

    def test_what_cannot_be_said_has_no_loss(self, fixed_logits: Callable, make_sample: Callable) -> None:
        logits = torch.cat([random_probs(2, seed) for seed in range(2)]).log().requires_grad_()
        criterion = QueryCTCCriterion(QueryCTCConfig(pairs_after=1), None)
        criterion.set_num_updates(1)
        loss, size, log = criterion(fixed_logits(BLANK, "ctc"), make_sample(logits, [[0, 1], [1, 1]]))
        [gradient] = torch.autograd.grad(loss, logits)
        assert (size, log["unreachable"]) == (1, 1)
        assert gradient[0].abs().max() > 0 and gradient[1].abs().max() == 0

    def test_a_number_of_updates_is_asked(self) -> None:
        with pytest.raises(UsageError, match="--pairs-after -1: give a number of updates, or 0 for never"):
            QueryCTCCriterion(QueryCTCConfig(pairs_after=-1), None)

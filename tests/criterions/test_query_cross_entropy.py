from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from narvl.criterions.query_cross_entropy import (
    QueryCrossEntropyConfig,
    QueryCrossEntropyCriterion,
    query_cross_entropy_loss,
)
from narvl.errors import UsageError

BLANK = 5
#: Probabilities of three queries over six classes.
PROBABILITIES = torch.tensor(
    [[0.1, 0.1, 0.1, 0.4, 0.1, 0.2], [0.1, 0.1, 0.5, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.1, 0.2, 0.3]],
    dtype=torch.float64,
)


def loss(targets: list[list[int]], probabilities: Tensor = PROBABILITIES, **options: Any) -> Any:
    rows = [torch.tensor(target) for target in targets]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
    lengths = torch.tensor([len(row) for row in rows])
    logits = probabilities.log().expand(len(rows), -1, -1)
    return query_cross_entropy_loss(logits, padded, lengths, BLANK, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, -math.log(0.4) - math.log(0.5) - math.log(0.3)),  # the third query learns the blank
        ({"train_unused": False}, -math.log(0.4) - math.log(0.5)),
    ],
)
def test_worked_example(options: dict[str, bool], expected: float) -> None:
    result = loss([[3, 2]], **options)
    assert float(result.loss) == pytest.approx(expected / 2)
    assert (result.reachable.tolist(), result.needed.tolist()) == ([True], [2])


def test_label_smoothing_reaches_the_trained_queries_only() -> None:
    means = -PROBABILITIES.log().mean(1)
    nll = -math.log(0.4) - math.log(0.5)
    ignoring = float(loss([[3, 2]], train_unused=False, label_smoothing=0.2).loss)
    assert ignoring == pytest.approx((0.8 * nll + 0.2 * float(means[:2].sum())) / 2)
    training = float(loss([[3, 2]], label_smoothing=0.2).loss)
    assert training == pytest.approx((0.8 * (nll - math.log(0.3)) + 0.2 * float(means.sum())) / 2)


def test_equal_neighbours_need_no_blank() -> None:
    result = loss([[4, 4, 2]])
    assert result.reachable.tolist() == [True]
    assert float(result.loss) == pytest.approx(-(math.log(0.1) + math.log(0.1) + math.log(0.1)) / 3)


def test_a_target_longer_than_the_queries_is_unreachable() -> None:
    result = loss([[3, 4, 3, 2], [3, 2]], label_smoothing=0.1)
    assert result.reachable.tolist() == [False, True]
    assert result.needed.tolist() == [4, 2]
    assert float(result.loss[0]) == 0.0
    assert float(result.loss[1]) == pytest.approx(float(loss([[3, 2]], label_smoothing=0.1).loss))


def test_what_padding_holds_does_not_count() -> None:
    logits = PROBABILITIES.log().unsqueeze(0)
    results = [
        query_cross_entropy_loss(logits, torch.tensor([[3, 2, value]]), torch.tensor([2]), BLANK).loss
        for value in (0, 1, 4)
    ]
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])


def test_gradcheck_with_an_unreachable_target() -> None:
    logits = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target, lengths = torch.tensor([[3, 2, 1, 1], [3, 4, 3, 2]]), torch.tensor([2, 4])

    def summed(logits: Tensor) -> Tensor:
        return query_cross_entropy_loss(logits, target, lengths, BLANK, 0.1).loss.sum()

    assert torch.autograd.gradcheck(summed, logits)
    assert not torch.autograd.grad(summed(logits), logits)[0][1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = PROBABILITIES.log().unsqueeze(0).to(dtype)
    results = [
        query_cross_entropy_loss(x, torch.tensor([[3, 2]]), torch.tensor([2]), BLANK).loss
        for x in (logits, logits.float())
    ]
    assert results[0].dtype == torch.float32
    assert torch.equal(*results)


class TestCriterion:
    def test_options_arrive(self, fixed_logits: Any, make_sample: Callable[..., dict[str, Any]]) -> None:
        sample = make_sample(PROBABILITIES.log().unsqueeze(0), [[3, 2]], weight=torch.tensor([0.5]))
        for unused, train in (("blank", True), ("ignore", False)):
            cfg = QueryCrossEntropyConfig(label_smoothing=0.1, unused_queries=unused)
            criterion = QueryCrossEntropyCriterion(cfg, None)
            value, size, log = criterion(fixed_logits(BLANK, "position"), sample)
            expected = loss([[3, 2]], label_smoothing=0.1, train_unused=train)
            assert float(value) == pytest.approx(0.5 * float(expected.loss))
            assert (size, log["unreachable"]) == (1, 0)

    def test_another_alignment_is_refused(self, fixed_logits: Any, make_sample: Callable[..., dict[str, Any]]) -> None:
        sample = make_sample(PROBABILITIES.log().unsqueeze(0), [[3, 2]])
        with pytest.raises(
            UsageError, match="--criterion query_cross_entropy trains queries for --alignment position, but the model"
        ):
            QueryCrossEntropyCriterion(QueryCrossEntropyConfig(), None)(fixed_logits(BLANK, "ctc"), sample)

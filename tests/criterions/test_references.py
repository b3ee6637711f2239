"""Q-CTC over several references: the marginal against enumeration, its limits, gradients, unequal batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.criterions.query_ctc import (
    QueryCTCConfig,
    QueryCTCCriterion,
    References,
    marginal_query_ctc_loss,
    query_ctc_loss,
)
from narvl.errors import UsageError

#: Classes: </s> = 2, tokens 3 and 4, blank 5 (the last); <s>, <pad> are 0, 1.
CLASSES, BLANK = 6, 5

#: A sample's references, each with its weight.
Weighted = Sequence[tuple[Sequence[int], float]]


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tabulated(samples: Sequence[Weighted], width: int = 4) -> References:
    """Tables as the data set makes them."""
    most = max(map(len, samples))
    places = [[*sample, *[([], 0.0)] * (most - len(sample))] for sample in samples]
    tokens = [[[*target, *[1] * (width - len(target))] for target, _ in sample] for sample in places]
    lengths = [[len(target) for target, _ in sample] for sample in places]
    weights = [[weight for _, weight in sample] for sample in places]
    return References(torch.tensor(tokens), torch.tensor(lengths), torch.tensor(weights))


def probability(logits: Tensor, target: Sequence[int]) -> float:
    """The summed probability of every path that collapses to the target."""
    log_probs = logits.log_softmax(-1).tolist()
    return sum(
        math.exp(sum(log_probs[query][symbol] for query, symbol in enumerate(path)))
        for path in itertools.product(range(logits.size(-1)), repeat=len(logits))
        if [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK] == list(target)
    )


def by_enumeration(logits: Tensor, sample: Weighted, temperature: float, lenpen: float = 0.0) -> float:
    """The loss as its formula reads, over the references that can be said; 0 where none can."""
    terms = [(probability(logits, target), weight, len(target)) for target, weight in sample if weight]
    terms = [term for term in terms if term[0]]
    if not terms:
        return 0.0
    total = sum(weight for _, weight, _ in terms)
    length = sum(weight / total * tokens for _, weight, tokens in terms)
    marginal = sum(weight / total * p ** ((length / tokens) ** lenpen / temperature) for p, weight, tokens in terms)
    return -temperature * math.log(marginal) / length


targets = st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=4)
samples = st.lists(st.tuples(targets, st.sampled_from([0.3, 1.0, 2.5])), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.lists(samples, min_size=1, max_size=3),
    queries=st.integers(1, 4),
    temperature=st.sampled_from([0.25, 1.0, 4.0]),
    lenpen=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_any_small_case(batch: list[Weighted], queries: int, temperature: float, lenpen: float, seed: int) -> None:
    logits = random_logits(len(batch), queries, CLASSES, seed=seed)
    result = marginal_query_ctc_loss(logits, tabulated(batch), BLANK, temperature, lenpen=lenpen)
    expected = [by_enumeration(*pair, temperature, lenpen) for pair in zip(logits, batch, strict=True)]
    assert result.loss.tolist() == pytest.approx(expected)
    assert result.reachable.tolist() == [
        any(probability(row, target) > 0 for target, _ in sample) for row, sample in zip(logits, batch, strict=True)
    ]


BATCH: list[Weighted] = [
    [([3, 4, 2], 1.0), ([4, 3, 2], 1.0), ([3, 2], 0.5)],
    [([4, 2], 1.0)],
    [([3, 3, 3, 3], 1.0), ([2], 1.0)],  # the first needs 7 queries
    [([3, 3, 3, 2], 1.0), ([4, 4, 4, 2], 1.0)],  # out of reach
]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("smoothing", "lenpen"), [(0.0, 0.0), (0.1, 0.0), (0.1, 1.0)])
def test_gradcheck(temperature: float, smoothing: float, lenpen: float) -> None:
    references = tabulated(BATCH)
    scale = torch.tensor([1.0, 0.3, 2.0, 1.0], dtype=torch.float64)

    def loss(logits: Tensor) -> Tensor:
        result = marginal_query_ctc_loss(logits, references, BLANK, temperature, smoothing, lenpen=lenpen)
        return (scale * result.loss).sum()

    logits = random_logits(4, 5, CLASSES).requires_grad_()
    assert marginal_query_ctc_loss(logits, references, BLANK).reachable.tolist() == [True, True, True, False]
    assert torch.autograd.gradcheck(loss, logits)


def test_one_reference_is_plain_query_ctc() -> None:
    rows = [[3, 3, 2], [4, 2], [2]]
    references = tabulated([[(row, 0.7)] for row in rows])
    ours, theirs = (random_logits(3, 5, CLASSES).requires_grad_() for _ in range(2))
    result = marginal_query_ctc_loss(ours, references, BLANK, 2.0, 0.1)
    expected = query_ctc_loss(theirs, references.tokens[:, 0], references.lengths[:, 0], BLANK, 0.1)
    torch.testing.assert_close(result.loss, expected.loss)
    assert torch.equal(result.needed, expected.needed)
    gradients = [torch.autograd.grad(part.sum(), leaf) for part, leaf in ((result.loss, ours), (expected.loss, theirs))]
    torch.testing.assert_close(*gradients)


def test_the_temperature_s_limits() -> None:
    logits = random_logits(1, 6, CLASSES, seed=3)
    sample: Weighted = [([3, 4, 2], 1.0), ([4, 4, 2], 1.0), ([2, 3, 3], 1.0)]
    losses = torch.tensor([-math.log(probability(logits[0], target)) for target, _ in sample])
    for temperature, expected in ((1e-3, losses.min()), (1e6, losses.mean())):
        loss = marginal_query_ctc_loss(logits, tabulated([sample]), BLANK, temperature).loss
        assert float(loss) == pytest.approx(float(expected) / 3, rel=1e-2)


def test_by_the_token_length_is_no_advantage() -> None:
    """Queries that say every class alike: the shorter reference is likelier, but not by the token."""
    sample: Weighted = [([3, 2], 1.0), ([3, 4, 3, 2], 1.0)]
    shares = []
    for lenpen in (0.0, 1.0):
        logits = torch.zeros(1, 4, CLASSES, dtype=torch.float64).requires_grad_()
        loss = marginal_query_ctc_loss(logits, tabulated([sample]), BLANK, lenpen=lenpen).loss
        gradient = torch.autograd.grad(loss.sum(), logits)[0]
        shares.append(float(gradient[0, :, 4].sum()))  # the token of the longer one alone
    assert shares[1] < shares[0], "a larger share of the longer one pulls its token up more"


def test_the_gradient_is_shared_out_by_the_posterior_of_the_references() -> None:
    """At temperature 1: each reference's own gradient, times its share of their summed probability."""
    sample: Weighted = [([3, 4, 2], 1.0), ([4, 3, 2], 1.0)]
    references = tabulated([sample])
    logits = random_logits(1, 5, CLASSES, seed=1).requires_grad_()
    whole = torch.autograd.grad(marginal_query_ctc_loss(logits, references, BLANK).loss.sum(), logits)[0]
    likelihoods = [probability(logits[0].detach(), target) for target, _ in sample]
    shared = torch.zeros_like(whole)
    for place, likelihood in enumerate(likelihoods):
        alone = query_ctc_loss(logits, references.tokens[:, place], references.lengths[:, place], BLANK)
        shared += likelihood / sum(likelihoods) * torch.autograd.grad(alone.loss.sum(), logits)[0]
    torch.testing.assert_close(whole, shared)


def test_the_logits_are_read_once_for_all_references(monkeypatch: pytest.MonkeyPatch) -> None:
    from narvl.criterions import query_ctc

    calls: list[torch.Size] = []
    pick = query_ctc.pick_log_probs

    def counted(logits: Tensor, columns: Tensor, overwrite: bool) -> Any:
        calls.append(columns.shape)
        return pick(logits, columns, overwrite)

    monkeypatch.setattr(query_ctc, "pick_log_probs", counted)
    marginal_query_ctc_loss(random_logits(4, 5, CLASSES), tabulated(BATCH), BLANK)
    assert calls == [(4, 5, 1 + 3 * 4)]


class TestCriterion:
    def test_batches_with_references(self, fixed_logits: Callable, make_sample: Callable) -> None:
        logits = random_logits(4, 5, CLASSES)
        tables = vars(tabulated(BATCH))
        sample = make_sample(logits, [list(row[0][0]) for row in BATCH], references=tables)
        config = QueryCTCConfig(label_smoothing=0.1, reference_temperature=0.5, reference_lenpen=1.0)
        loss, size, log = QueryCTCCriterion(config, None)(fixed_logits(BLANK, "ctc"), sample)
        expected = marginal_query_ctc_loss(logits, References(**tables), BLANK, 0.5, 0.1, lenpen=1.0)
        torch.testing.assert_close(loss, expected.loss.sum())
        assert (size, log["unreachable"]) == (3, 1)
        assert (log["references"], log["unreachable_references"]) == (8, 3)

    def test_references_out_of_reach_are_logged(self, fixed_logits: Callable, make_sample: Callable) -> None:
        from fairseq.logging import metrics

        sample = make_sample(random_logits(4, 5, CLASSES), [[2]] * 4, references=vars(tabulated(BATCH)))
        criterion = QueryCTCCriterion(QueryCTCConfig(), None)
        logs = [criterion(fixed_logits(BLANK, "ctc"), sample)[2]] * 2
        with metrics.aggregate(new_root=True) as logged:
            criterion.reduce_metrics(logs)
        assert logged.get_smoothed_values()["unreachable_references"] == pytest.approx(3 / 8, abs=1e-3)

    def test_validation_judges_the_target(self, fixed_logits: Callable, make_sample: Callable) -> None:
        logits, targets = random_logits(4, 5, CLASSES), [[3, 2], [4, 2], [2], [3, 4, 2]]
        sample = make_sample(logits, targets, references=vars(tabulated(BATCH)))
        criterion = QueryCTCCriterion(QueryCTCConfig(reference_temperature=0.5), None)
        model = fixed_logits(BLANK, "ctc")
        learned, judged = criterion(model, sample)[0], criterion(model.eval(), sample)[0]
        torch.testing.assert_close(judged, criterion(model, make_sample(logits, targets))[0])
        assert judged != learned

    @pytest.mark.parametrize("value", [0.0, -1.0, 1e-5, 1e6, math.inf, math.nan])
    def test_temperature_out_of_range(self, value: float) -> None:
        with pytest.raises(UsageError, match=f"--reference-temperature {value}: give a value from 0.001"):
            QueryCTCCriterion(QueryCTCConfig(reference_temperature=value), None)

    @pytest.mark.parametrize("value", [-0.5, 3.5, math.nan])
    def test_lenpen_out_of_range(self, value: float) -> None:
        with pytest.raises(UsageError, match=f"--reference-lenpen {value}: give a value from 0 "):
            QueryCTCCriterion(QueryCTCConfig(reference_lenpen=value), None)


def test_references_without_confidence_count_alike() -> None:
    """Reachability is a matter of length; what a weight of 0 leaves out is decided beside references that have one."""
    logits = random_logits(2, 5, CLASSES)
    none = tabulated([[([3, 4, 2], 0.0), ([4, 2], 0.0)], [([3, 2], 0.0), ([2], 0.4)]])
    alike = tabulated([[([3, 4, 2], 1.0), ([4, 2], 1.0)], [([2], 1.0)]])
    found, expected = (marginal_query_ctc_loss(logits, references, BLANK) for references in (none, alike))
    assert found.reachable.all()
    torch.testing.assert_close(found.loss, expected.loss)
    assert found.references.tolist() == [2, 1]


def test_samples_without_a_token_need_nothing() -> None:
    result = marginal_query_ctc_loss(random_logits(1, 5, CLASSES), tabulated([[([], 1.0)]]), BLANK)
    assert (result.needed.tolist(), result.reachable.tolist(), result.loss.tolist()) == ([0], [False], [0.0])

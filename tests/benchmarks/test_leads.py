from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lead_maths import (
    best_paths,
    keep_shortest,
    likeliest_reference,
    references_of,
    sum_over_codes,
)
from narvl.criterions.query_ctc import References, marginal_query_ctc_loss
from narvl.errors import UsageError
from tests.criterions.enumeration import BLANK, all_paths, collapse, random_probs

texts = st.lists(st.sampled_from([0, 1, 2]), min_size=2, max_size=3)
seeds = st.integers(0, 1000)


class TestBestPaths:
    @settings(max_examples=40, deadline=None)
    @given(text=texts, queries=st.integers(5, 6), seed=seeds)
    def test_no_path_of_the_target_is_likelier(self, text: list[int], queries: int, seed: int) -> None:
        probs = random_probs(queries, seed)
        best = max((probability, path) for probability, path in all_paths(probs) if collapse(path) == text)
        found = best_paths(probs.log(), torch.tensor([text]), torch.tensor([len(text)]), BLANK)
        assert tuple(found[0].tolist()) == best[1]

    def test_padding_does_not_count(self) -> None:
        log_probs = random_probs(5, 1).log()
        short = best_paths(log_probs, torch.tensor([[0, 1]]), torch.tensor([2]), BLANK)
        padded = best_paths(log_probs, torch.tensor([[0, 1, 2, 2]]), torch.tensor([2]), BLANK)
        assert torch.equal(short, padded)


def test_the_likeliest_reference_is_chosen() -> None:
    probs = random_probs(4, 5)
    tokens = torch.tensor([[[0, 1, 2], [2, 1, 0], [1, 0, 0], [0, 0, 0]]])
    references = References(tokens, torch.tensor([[3, 3, 2, 0]]), torch.ones(1, 4))
    likelihoods = [
        sum(p for p, path in all_paths(probs) if collapse(path) == text) for text in ([0, 1, 2], [2, 1, 0], [1, 0])
    ]
    target, length = likeliest_reference(probs.log(), references, BLANK)
    best = likelihoods.index(max(likelihoods))
    assert target[0].tolist() == tokens[0, best].tolist()
    assert int(length) == int(references.lengths[0, best])


def test_without_a_reference_that_can_be_said_there_is_none() -> None:
    references = References(torch.tensor([[[0, 0, 0]]]), torch.tensor([[3]]), torch.ones(1, 1))
    assert int(likeliest_reference(random_probs(4, 5).log(), references, BLANK)[1]) == 0


@pytest.mark.parametrize(
    ("share", "lengths"), [(0, [0, 3, 0, 0]), (0.5, [0, 3, 4, 0]), (0.75, [5, 3, 4, 0]), (1, [5, 3, 4, 0])]
)
def test_the_shortest_references_are_kept(share: float, lengths: list[int]) -> None:
    references = References(torch.zeros(1, 4, 5, dtype=torch.long), torch.tensor([[5, 3, 4, 0]]), torch.ones(1, 4))
    assert keep_shortest(references, share).lengths.tolist() == [lengths]


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    probs = torch.cat([random_probs(5, seed) for seed in range(3)])
    target, lengths = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 0], [1, 0, 0, 0]]), torch.tensor([4, 2, 1])
    paths = best_paths(probs.log(), target, lengths, BLANK)
    tokens = torch.stack([target, target.flip(0)], dim=1)
    references = References(tokens, torch.stack([lengths, torch.tensor([0, 0, 4])], dim=1), torch.ones(3, 2))
    chosen, sizes = likeliest_reference(probs.log(), references, BLANK)
    for row in range(3):
        one = probs[[row]]
        assert torch.equal(paths[[row]], best_paths(one.log(), target[[row]], lengths[[row]], BLANK))
        alone = References(**{name: value[[row]] for name, value in vars(references).items()})
        text, size = likeliest_reference(one.log(), alone, BLANK)
        assert torch.equal(chosen[[row]], text) and torch.equal(sizes[[row]], size)


def test_references_that_cannot_be_said_are_left_out() -> None:
    tables = {"tokens": torch.tensor([[[0, 0, 1], [0, 1, 1]]]), "lengths": torch.tensor([[3, 2]])}
    sample = {"references": {**tables, "weights": torch.ones(1, 2)}}
    assert references_of(sample).lengths.tolist() == [[3, 2]]
    assert references_of(sample, 3).lengths.tolist() == [[0, 2]]
    with pytest.raises(UsageError, match="Add --references all"):
        references_of({})


def test_codes_are_summed_over() -> None:
    probs = torch.cat([random_probs(4, seed) for seed in range(4)])  # two samples with two codes each
    prior = torch.tensor([[0.3, 0.7], [0.9, 0.1]], dtype=torch.float64)
    tokens = torch.tensor([[[0, 1, 2], [2, 1, 0]], [[1, 2, 2], [0, 0, 0]]])
    references = References(tokens, torch.tensor([[3, 3], [2, 0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    repeated = References(**{name: value.repeat_interleave(2, dim=0) for name, value in vars(references).items()})
    losses = marginal_query_ctc_loss(probs.log(), repeated, BLANK)
    found = sum_over_codes(losses, prior.log(), references.lengths).loss.tolist()
    for sample, (said, length) in enumerate([(([0, 1, 2], [2, 1, 0]), 3), (([1, 2],), 2)]):
        total = sum(
            float(prior[sample, code]) * p / len(said)
            for code in range(2)
            for p, path in all_paths(probs[2 * sample + code : 2 * sample + code + 1])
            if collapse(path) in said
        )
        assert found[sample] == pytest.approx(-math.log(total) / length)

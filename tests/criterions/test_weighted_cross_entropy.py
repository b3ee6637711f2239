from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from narvl.criterions.weighted_cross_entropy import weighted_cross_entropy

PAD = 1


@pytest.fixture()
def log_probs() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, dtype=torch.float64, generator=generator).log_softmax(-1)


TARGET = torch.tensor([3, 4, 2, 4, 2, PAD])


def test_each_token_carries_its_sample_s_weight(log_probs: Tensor) -> None:
    loss, nll = weighted_cross_entropy(log_probs, TARGET, torch.tensor([0.5, 0.25]), 0.0, PAD)
    expected = [-float(log_probs[row, token]) for row, token in enumerate(TARGET.tolist())]
    expected[5] = 0.0
    assert nll.tolist() == pytest.approx(expected)
    weights = [0.5] * 3 + [0.25] * 3
    assert loss.tolist() == pytest.approx([value * weight for value, weight in zip(expected, weights, strict=True)])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients(smoothing: float) -> None:
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def loss(values: Tensor) -> Tensor:
        weight = torch.tensor([0.3, 0.8], dtype=torch.float64)
        return weighted_cross_entropy(values.log_softmax(-1), TARGET, weight, smoothing, PAD)[0].sum()

    assert torch.autograd.gradcheck(loss, (logits,))


def test_in_training_it_is_fairseq_s_loss_times_the_weight(scenes: Path, build: Callable[..., Any]) -> None:
    flags = ("--patch-image-size", "32", "--dropout", "0", "--label-smoothing", "0.1")
    task, model, weighted = build(scenes, "ofa_nano", *flags, "--criterion", "weighted_cross_entropy")
    _, _, plain = build(scenes, "ofa_nano", *flags)
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[index] for index in range(4)])
    model.eval()
    expected, size, _ = plain(model, batch)
    same, same_size, _ = weighted(model, batch)
    torch.testing.assert_close(same, expected)
    half, half_size, log = weighted(model, {**batch, "weight": torch.full((4,), 0.5)})
    torch.testing.assert_close(half, expected / 2)
    assert size == same_size == half_size == batch["ntokens"]
    assert float(log["nll_loss"]) > 0
    apart, _, _ = weighted(model, {**batch, "weight": torch.tensor([1.0, 0, 0, 0])})
    alone, _, _ = plain(model, dataset.collater([dataset[0]]))
    torch.testing.assert_close(apart, alone, rtol=1e-4, atol=1e-4)

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.criterions import _log_probs
from narvl.criterions._log_probs import pick_log_probs

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 5))


def random(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(logits: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    log_probs = logits.log_softmax(-1)
    return log_probs.gather(-1, columns), log_probs.mean(-1)


@pytest.fixture(params=[1, 13, 1 << 18])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """One row a block, a few, all."""
    monkeypatch.setattr(_log_probs, "_CPU_BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.usefixtures("block")
@settings(max_examples=20, deadline=None)
@given(shape=shapes, seed=st.integers(0, 99))
def test_value_and_gradient(overwrite: bool, shape: tuple[int, int, int, int], seed: int) -> None:
    *rows, classes, picked = shape
    columns = torch.randint(classes, (*rows, picked), generator=torch.Generator().manual_seed(seed))
    results = []
    for function in (plain, lambda x, y: pick_log_probs(x, y, overwrite)):
        leaf = random((*rows, classes), seed).requires_grad_()
        values, mean = function(2 * leaf, columns)
        (random(values.shape, seed + 1) * values).sum().add((random(mean.shape, seed + 2) * mean).sum()).backward()
        results.append((values.detach(), mean.detach(), leaf.grad))
    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("used", [0, 1])
def test_gradient_of_one_of_both(used: int) -> None:
    columns = torch.tensor([[[0, 4], [1, 1], [2, 3]]] * 2)
    gradients = []
    for function in (plain, pick_log_probs):
        logits = random((2, 3, 5), 0).requires_grad_()
        gradients += torch.autograd.grad(function(logits, columns)[used].sum(), logits)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_a_sure_model_learns_is_rounded_once(dtype: torch.dtype, overwrite: bool) -> None:
    """Its gradient is the small difference of two terms near 1, each of which half precision would round."""
    logits = random((2, 3, 50), 0, torch.float32)
    columns = torch.tensor([7, 7, 30]).expand(2, 3, 3)
    logits[..., 7] = logits.logsumexp(-1) + 6
    logits = logits.to(dtype)
    gradients = []
    for exact in (logits.double(), logits):
        leaf = exact.requires_grad_()
        picked, mean = pick_log_probs(leaf * 1, columns, overwrite)
        gradients += torch.autograd.grad((picked * torch.tensor([0.4, 0.6, 0.0]).to(picked)).sum(), leaf)
    expected, ours = gradients
    assert ours.dtype == dtype and expected.abs().max() < 0.01
    torch.testing.assert_close(ours.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-7)


def test_gradcheck() -> None:
    logits = random((2, 3, 5), 0).requires_grad_()
    columns = torch.tensor([[[0, 4], [1, 1], [2, 3]]] * 2)
    assert torch.autograd.gradcheck(lambda x: pick_log_probs(x, columns), logits)


class TestOverwriting:
    def test_the_gradient_takes_the_logits_memory(self) -> None:
        leaf = random((2, 3, 50), 0).requires_grad_()
        logits = leaf * 1
        values, _ = pick_log_probs(logits, torch.zeros(2, 3, 1, dtype=torch.long), overwrite=True)
        [gradient] = torch.autograd.grad(values.sum(), logits)
        assert gradient.data_ptr() == logits.data_ptr()

    @pytest.mark.parametrize("of", ["a parameter", "a view"])
    def test_memory_of_others_is_left_alone(self, of: str) -> None:
        leaf = random((2, 3, 50), 0).requires_grad_()
        before = leaf.detach().clone()
        logits = leaf if of == "a parameter" else leaf[:1]
        values, _ = pick_log_probs(logits, torch.zeros(*logits.shape[:2], 1, dtype=torch.long), overwrite=True)
        values.sum().backward()
        assert torch.equal(leaf.detach(), before)

    def test_there_is_no_second_gradient(self) -> None:
        logits = random((1, 2, 5), 0).requires_grad_() * 1
        values, _ = pick_log_probs(logits, torch.zeros(1, 2, 1, dtype=torch.long), overwrite=True)
        torch.autograd.grad(values.sum(), logits, retain_graph=True)
        with pytest.raises(AssertionError, match="overwritten"):
            torch.autograd.grad(values.sum(), logits)

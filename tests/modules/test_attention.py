from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from narvl.modules.attention import Attention, mask_keys

WIDTH, HEADS = 12, 3


@pytest.fixture()
def attention() -> Attention:
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS)
    with torch.no_grad():
        attention.c_attn.copy_(torch.tensor([0.5, 1.0, -2.0]))
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            projection.bias.normal_()
    return attention


def by_definition(attention: Attention, x: Tensor, attended: Tensor, bias: Tensor) -> Tensor:
    """One head after the other, softmax written out."""
    queries, keys, values = attention.q_proj(x), attention.k_proj(attended), attention.v_proj(attended)
    size = WIDTH // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = queries[..., part] @ keys[..., part].transpose(1, 2) / math.sqrt(2 * size) + bias[:, head]
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        heads.append(attention.c_attn[head] * (weights @ values[..., part]))
    return attention.out_proj(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("batch_of_biases", [1, 2])
def test_equals_the_definition(attention: Attention, batch_of_biases: int) -> None:
    x, attended = torch.randn(2, 4, WIDTH), torch.randn(2, 6, WIDTH)
    bias = torch.randn(batch_of_biases, HEADS, 4, 6)
    bias[..., 5] = float("-inf")
    out = attention(attention.queries(x), *attention.keys_values(attended), bias)
    torch.testing.assert_close(out, by_definition(attention, x, attended, bias), atol=1e-5, rtol=1e-5)
    changed = attended.clone()
    changed[:, 5] += 3
    assert torch.equal(attention(attention.queries(x), *attention.keys_values(changed), bias), out)


def test_the_bias_is_trained(attention: Attention) -> None:
    x = torch.randn(2, 4, WIDTH)
    bias = torch.zeros(1, HEADS, 4, 4, requires_grad=True)
    attention(attention.queries(x), *attention.keys_values(x), bias).square().sum().backward()
    assert bias.grad is not None and bias.grad.all()
    assert attention.c_attn.grad is not None and attention.c_attn.grad.all()


def test_dropout_of_the_weights_in_training_alone() -> None:
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS, dropout=0.5)
    x, bias = torch.randn(1, 8, WIDTH), torch.zeros(1, HEADS, 8, 8)

    def run() -> Tensor:
        return attention(attention.queries(x), *attention.keys_values(x), bias)

    assert not torch.equal(run(), run())
    attention.eval()
    assert torch.equal(run(), run())


def test_a_fresh_head_scale_is_one() -> None:
    assert Attention(WIDTH, HEADS).c_attn.tolist() == [1.0] * HEADS


class TestMask:
    def test_padded_keys_are_forbidden_a_row_each(self) -> None:
        bias = torch.arange(6.0).view(1, 1, 2, 3)
        masked = mask_keys(bias, torch.tensor([[False, False, True], [False, True, False]]))
        low = float("-inf")
        assert masked.tolist() == [[[[0.0, 1.0, low], [3.0, 4.0, low]]], [[[0.0, low, 2.0], [3.0, low, 5.0]]]]
        assert bias.flatten().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]

    def test_without_padding_the_bias_stays_shared(self) -> None:
        bias = torch.zeros(1, 1, 2, 3)
        assert mask_keys(bias, None) is bias

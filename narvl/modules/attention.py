"""Multi-head attention with an additive bias and a learned scalar for each head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narvl.modules.packed import PackedLinear, pack_linears, pack_together
from narvl.modules.positions import position_scale


class Attention(nn.Module):
    """Attention over torch's fused kernel, the position bias entering as its mask.

    Args:
        width: D.
        heads: H.
        dropout: dropout of the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.scale = position_scale(width // heads)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.c_attn = nn.Parameter(torch.ones(heads))
        self.qkv_proj: PackedLinear | None = None  # self-attention's three in one, once packed
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def make_generation_fast_(self, name: str = "", **unused: Any) -> None:
        """Lay the weights out for a CPU that only answers (fairseq's hook)."""
        pack_linears(self, "out_proj")
        if name.endswith("encoder_attn"):
            pack_linears(self, "q_proj")
            pack_linears(self, "k_proj", "v_proj", keep=True)  # ``over_states`` reads the weights as they are
        else:
            self.qkv_proj = pack_together(self, "q_proj", "k_proj", "v_proj")

    def queries(self, x: Tensor) -> Tensor:
        """Project the attending side (B, T, D) to queries (B, H, T, D/H)."""
        return self._split(self.q_proj(x))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project the attended side (B, L, D) to keys and values, each (B, H, L, D/H)."""
        return self._split(self.k_proj(x)), self._split(self.v_proj(x))

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project (B, T, D), which attends to itself, to queries, keys and values, each (B, H, T, D/H)."""
        if self.qkv_proj is None:
            return self.queries(x), *self.keys_values(x)
        queries, keys, values = (self._split(part) for part in self.qkv_proj(x).chunk(3, dim=-1))
        return queries, keys, values

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, runs: Sequence[Run] | None = None
    ) -> Tensor:
        """Attend.

        Args:
            queries: from ``queries``, (B, H, T, D/H).
            keys: from ``keys_values``, (B, H, L, D/H).
            values: likewise.
            bias: added to the scaled scores; (1 or B, H, T, L), -inf where attention is forbidden.
            runs: where the attended side is right-padded, how long it is. Each run of samples takes its part of the
                bias, which the batch shares: no sample needs a mask of its own. None when nothing is padded, or the
                bias forbids it.

        Returns:
            (B, T, D).
        """
        if runs is None:
            return self._merge(self._attend(queries, keys, values, bias))
        samples = [run.samples for run in runs]
        sides = zip(queries.split(samples), keys.split(samples), values.split(samples), strict=True)
        return self._merge(
            torch.cat(
                [
                    self._attend(query, key[:, :, :end], value[:, :, :end], bias[..., :end])
                    for (_, end), (query, key, value) in zip(runs, sides, strict=True)
                ]
            )
        )

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, dropout_p=dropout, scale=self.scale
        )

    def over_states(self, x: Tensor, states: Tensor, bias: Tensor) -> Tensor:
        """Attend over unprojected states: what ``forward`` gives for ``keys_values(states)``, sooner for few queries.

        A score is q . (W_k s + b_k) = (W_k^T q) . s + a term that all keys share and softmax cancels, and a context is
        W_v (sum of weighted states) + b_v. With T queries, H T L D products for each of both take the place of L D D:
        worth it where H T < D.

        Args:
            x: attending side (B, T, D).
            states: attended side (B, L, D).
            bias: added to the scaled scores; (1 or B, H, 1 or T, L), -inf where attention is forbidden.

        Returns:
            (B, T, D).
        """
        batch, length, width = x.shape
        key, value = (linear.weight.view(self.heads, -1, width) for linear in (self.k_proj, self.v_proj))

        def by_head(rows: Tensor, weight: Tensor) -> Tensor:
            # One product a head: torch.matmul would copy the weights for every sample.
            product = torch.bmm(rows.transpose(0, 1).flatten(1, 2), weight)
            return product.view(self.heads, batch, length, -1).transpose(0, 1)

        queries = by_head(self.queries(x) * self.scale, key)  # (B, H, T, D)
        scores = torch.baddbmm(
            bias.expand(batch, -1, length, -1).flatten(1, 2), queries.flatten(1, 2), states.transpose(1, 2)
        )
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)  # (B, H * T, L)
        context = by_head((weights @ states).view(batch, self.heads, length, width), value.transpose(1, 2))
        value_bias = self.v_proj.bias.view(1, self.heads, 1, -1)
        if self.training:  # dropout changes what the weights sum up to
            value_bias = value_bias * weights.sum(dim=-1).view(batch, self.heads, length, 1)
            # The keys' bias has no part in this, but DistributedDataParallel waits for a gradient of every weight.
            value_bias = value_bias + 0.0 * self.k_proj.bias.view(1, self.heads, 1, -1)
        return self._merge(context + value_bias)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _merge(self, context: Tensor) -> Tensor:
        context = context * self.c_attn.view(1, -1, 1, 1)
        return self.out_proj(context.transpose(1, 2).flatten(2))


class Run(NamedTuple):
    """Neighbouring samples of a batch that are equally long."""

    samples: int
    length: int


def padded_runs(lengths: Sequence[int]) -> list[Run]:
    """Find the runs of equally long samples in a right-padded batch, from each sample's length."""
    return [Run(len(list(run)), length) for length, run in itertools.groupby(lengths)]


def mask_keys(bias: Tensor, padding: Tensor | None) -> Tensor:
    """Forbid attention to padded keys.

    Args:
        bias: (1, H, T, L), shared by the batch.
        padding: (B, L), True at padding; None when nothing is padded, which keeps the bias shared.

    Returns:
        (1 or B, H, T, L).
    """
    if padding is None:
        return bias
    return bias.masked_fill(padding[:, None, None, :], float("-inf"))

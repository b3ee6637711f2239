"""Multi-head attention with an additive bias and a learned scalar for each head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project the attended side (B, L, D) to keys and values, each (B, H, L, D/H)."""
        return self._split(self.k_proj(x)), self._split(self.v_proj(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend.

        Args:
            x: attending side (B, T, D).
            keys: from ``keys_values``, (B, H, L, D/H).
            values: likewise.
            bias: added to the scaled scores; (1 or B, H, T, L), -inf where attention is forbidden.

        Returns:
            (B, T, D).
        """
        context = F.scaled_dot_product_attention(
            self._split(self.q_proj(x)),
            keys,
            values,
            attn_mask=bias,
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
        )
        context = context * self.c_attn.view(1, -1, 1, 1)
        return self.out_proj(context.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


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

"""Positions as additive attention biases: absolute (projected embeddings) and relative (bucketed tables)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Side of the largest patch grid that the tables cover; images up to 16 * 42 = 672 px.
GRID = 42
IMAGE_POSITIONS = GRID**2 + 1
# The grid of a 256 px image, from which ``interpolate_grid`` starts.
BASE_GRID = 16

_TEXT_BUCKETS = 256
_TEXT_SPAN = 1024
TEXT_RELATIVE_ROWS = 2 * _TEXT_BUCKETS - 1
# Three more rows serve a CLS slot of other OFA tasks; they are kept so that checkpoints fit.
IMAGE_RELATIVE_ROWS = (2 * GRID - 1) ** 2 + 3


def position_scale(head_dim: int) -> float:
    """Scale of both the content and the position scores: 1 / sqrt(2 * head_dim), since the two are summed."""
    return (2.0 * head_dim) ** -0.5


def text_buckets(length: int, device: torch.device | None = None) -> Tensor:
    """Relative-position bucket of each pair of text positions.

    Offsets up to 128 have a bucket each, longer ones share logarithmically wider buckets; those from 1,023 on, which
    OFA's sequences do not reach, share the last.

    Returns:
        Indices (length, length), row the attending position, column the attended one; in [0, 511).
    """
    position = torch.arange(length, device=device)
    offset = position[:, None] - position[None, :]
    middle = _TEXT_BUCKETS // 2
    distance = offset.abs().clamp(middle - 1, _TEXT_SPAN - 1)
    far = torch.ceil(torch.log(distance / middle) / math.log((_TEXT_SPAN - 1) / middle) * (middle - 1)).long() + middle
    return torch.where(distance <= middle, offset, far * offset.sign()) + _TEXT_BUCKETS - 1


def image_buckets(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Relative-position bucket of each pair of patches: their 2-D offset on the 42-wide grid.

    Returns:
        Indices (P, P) with P = height * width, patches counted row by row.
    """
    row = torch.arange(height, device=device).repeat_interleave(width)
    column = torch.arange(width, device=device).repeat(height)
    dy = row[:, None] - row[None, :]
    dx = column[:, None] - column[None, :]
    return (dy + GRID - 1) * (2 * GRID - 1) + dx + GRID - 1


def image_positions(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Rows (P,) of the absolute image-position table for a grid of height x width patches."""
    row = torch.arange(height, device=device)[:, None]
    column = torch.arange(width, device=device)[None, :]
    return (row * GRID + column + 1).flatten()


def interpolate_grid(table: Tensor, height: int, width: int) -> Tensor:
    """Stretch the absolute positions of the 16 x 16 grid to height x width patches, bilinearly.

    Args:
        table: absolute image positions (1765, D).

    Returns:
        Positions (height * width, D).
    """
    base = table[image_positions(BASE_GRID, BASE_GRID, table.device)]
    base = base.view(1, BASE_GRID, BASE_GRID, -1).permute(0, 3, 1, 2)
    return F.interpolate(base, size=(height, width), mode="bilinear").flatten(2)[0].transpose(0, 1)


def absolute_bias(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Score every pair of positions: per head, (q * s) k^T.

    Args:
        queries: projected positions of the attending side (T, D).
        keys: projected positions of the attended side (L, D).

    Returns:
        Bias (H, T, L).
    """
    q = queries.view(queries.size(0), heads, -1).transpose(0, 1)
    k = keys.view(keys.size(0), heads, -1).transpose(0, 1)
    return (q * position_scale(q.size(-1))) @ k.transpose(1, 2)


class RelativeBias(nn.Embedding):
    """One learned scalar for each bucket and head, zero at first; a table (rows, H)."""

    def __init__(self, rows: int, heads: int) -> None:
        super().__init__(rows, heads)
        nn.init.zeros_(self.weight)

    def forward(self, buckets: Tensor) -> Tensor:
        """Look up buckets (T, L) as a bias (H, T, L)."""
        return super().forward(buckets).permute(2, 0, 1)


@lru_cache(maxsize=64)
def cached_text_buckets(length: int, device: torch.device) -> Tensor:
    """Return ``text_buckets``, kept for the next call: lengths and grids recur in every batch."""
    with torch.inference_mode(False):  # what decoding computes first must serve training too
        return text_buckets(length, device)


@lru_cache(maxsize=64)
def cached_image_buckets(height: int, width: int, device: torch.device) -> Tensor:
    """Return ``image_buckets``, kept for the next call."""
    with torch.inference_mode(False):
        return image_buckets(height, width, device)

"""From a query's best classes to tokens: argmax, collapse, cut. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Decoded:
    """One sample's output.

    Attributes:
        tokens: token ids (L,), without blanks and without ``</s>``.
        log_probs: the log-probability of each token (L,); of merged queries, the first one's.
    """

    tokens: Tensor
    log_probs: Tensor


def collapse_mask(classes: Tensor, blank: int, merge: bool = True) -> Tensor:
    """Tell which queries' classes survive the collapse.

    Args:
        classes: the class each query says (..., N).
        blank: index of the blank.
        merge: merge equal neighbours before dropping blanks (CTC); otherwise drop blanks only.

    Returns:
        bool (..., N).
    """
    keep = classes.ne(blank)
    if merge:
        keep[..., 1:] &= classes[..., 1:].ne(classes[..., :-1])
    return keep


def greedy(log_probs: Tensor, blank: int, eos: int, merge: bool = True) -> list[Decoded]:
    """Decode each sample by the best class of each query: merge equal neighbours, drop blanks, cut at ``</s>``.

    Args:
        log_probs: (B, N, V + 1).
        blank: index of the blank.
        eos: index of ``</s>``; it and what follows is cut off.
        merge: see ``collapse_mask``.

    Returns:
        B outputs, on the host.
    """
    # On the host what is kept is known at once; on a device every row would wait for it.
    best, classes = (part.cpu() for part in log_probs.max(dim=-1))
    keep = collapse_mask(classes, blank, merge)
    ended = (classes.eq(eos) & keep).cumsum(dim=-1) > 0
    keep &= ~ended
    return [
        Decoded(row_classes[row_keep], row_best[row_keep])
        for row_classes, row_best, row_keep in zip(
            torch.unbind(classes), torch.unbind(best), torch.unbind(keep), strict=True
        )
    ]

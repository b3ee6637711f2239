"""Pairs of neighbouring tokens: how often queries are expected to say them, and how well they match a target's.

After Shao and Feng, "Non-Monotonic Latent Alignments for CTC-Based Non-Autoregressive Machine Translation" (NeurIPS
2022), who fine-tune translation by it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_loss(probs: Tensor, tokens: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Compute 1 less the F1 of each sample's pairs and those of the reference that they match best.

    Args:
        probs: of the queries (B, N, V + 1).
        tokens: ids of the references' tokens (B, K, L), right-padded, L at least 2.
        lengths: their numbers (B, K); 0 where there is no reference.
        blank: index of the blank.

    Returns:
        (B,), from 0 to 1.
    """
    places = [pair_f1(probs, tokens[:, place], lengths[:, place], blank) for place in range(tokens.size(1))]
    return 1 - torch.stack(places).amax(0)


def expected_pairs(probs: Tensor, first: Tensor, second: Tensor, blank: int) -> Tensor:
    """Compute how often pairs of tokens are expected to be neighbours in the collapsed text.

    They are where the last query of a run of the first token is followed by blanks alone, and then by the second's run.

    Args:
        probs: (B, N, V + 1).
        first: ids of the pairs' first tokens (B, M).
        second: of their second tokens (B, M).
        blank: index of the blank.

    Returns:
        (B, M).
    """
    between = _blanks_between(probs[:, :, blank])
    queries = probs.size(1)
    starts = probs.gather(2, first.unsqueeze(1).expand(-1, queries, -1))
    ends = probs.gather(2, second.unsqueeze(1).expand(-1, queries, -1))
    found = torch.einsum("bim,bij,bjm->bm", starts, between, ends)
    # Equal tokens of neighbouring queries are one.
    merged = (starts[:, :-1] * ends[:, 1:]).sum(1)
    return torch.where(first == second, found - merged, found)


def expected_all_pairs(probs: Tensor, blank: int) -> Tensor:
    """Compute how many pairs of neighbours the collapsed text is expected to have, of all tokens (B,)."""
    said = 1 - probs[:, :, blank]
    found = torch.einsum("bi,bij,bj->b", said, _blanks_between(probs[:, :, blank]), said)
    same = (probs[:, :-1] * probs[:, 1:]).sum(2) - probs[:, :-1, blank] * probs[:, 1:, blank]
    return found - same.sum(1)


def pair_f1(probs: Tensor, target: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Compute the F1 of expected pairs of neighbours and those of a target.

    Args:
        probs: (B, N, V + 1).
        target: token ids (B, L), right-padded, L at least 2.
        lengths: their numbers (B,).
        blank: index of the blank.

    Returns:
        (B,), from 0 to 1; 0 where a target has no pair.
    """
    first, second = target[:, :-1], target[:, 1:]
    inside = torch.arange(1, target.size(1), device=target.device) < lengths.unsqueeze(1)
    same = (first.unsqueeze(2) == first.unsqueeze(1)) & (second.unsqueeze(2) == second.unsqueeze(1))
    same &= inside.unsqueeze(1)
    times = same.sum(2)
    once = inside & ~same.tril(-1).any(2)  # each kind of pair at its first place
    matched = torch.minimum(expected_pairs(probs, first, second, blank), times.to(probs))
    total = expected_all_pairs(probs, blank) + (lengths - 1).clamp(min=0)
    return 2 * (matched * once).sum(1) / total.clamp(min=torch.finfo(probs.dtype).tiny)


def _blanks_between(blanks: Tensor) -> Tensor:
    """Return the probability that all queries between i and j say the blank (B, N, N); 0 unless i is before j."""
    queries = blanks.size(1)
    sums = F.pad(blanks.clamp(min=torch.finfo(blanks.dtype).tiny).log().cumsum(1), (1, 0))
    # Of queries i + 1 to j - 1, by differences of the sums before each query.
    logs = sums[:, :-1].unsqueeze(1) - sums[:, 1:].unsqueeze(2)
    later = torch.ones(queries, queries, dtype=torch.bool, device=blanks.device).triu(1)
    return logs.masked_fill(~later, -torch.inf).exp()

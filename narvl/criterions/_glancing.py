"""Glancing: in training some queries read what they should say, so that the others learn to go along with them.

After Qian et al., "Glancing Transformer for Non-Autoregressive Neural Machine Translation" (ACL 2021), which compares
token by token; here the target is aligned by CTC's likeliest path, blanks included.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from narvl.modules.parallel_decoder import Shown


def best_paths(logits: Tensor, target: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Find the likeliest path of each target: Viterbi's algorithm over CTC's states, blank, token, blank, ..., blank.

    Args:
        logits: (B, N, V + 1); what is constant within a query changes no path, so they need no normalisation.
        target: token ids (B, L), right-padded, L at least 1; those that can be said by N queries.
        lengths: their numbers (B,).
        blank: index of the blank.

    Returns:
        Symbols (B, N), which collapse to the target; anything where N queries cannot say it.
    """
    batch, queries, _ = logits.shape
    states = target.new_full((batch, 2 * target.size(1) + 1), blank)
    states[:, 1::2] = target
    # A blank between two tokens may be left out, unless they are equal.
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = target[:, 1:] != target[:, :-1]
    said = logits.gather(2, states.unsqueeze(1).expand(-1, queries, -1)).float()

    def later(scores: Tensor, by: int) -> Tensor:
        return F.pad(scores, (by, 0), value=-torch.inf)[:, : scores.size(1)]

    scores = said[:, 0].clone()
    scores[:, 2:] = -torch.inf
    steps = []
    for query in range(1, queries):
        skipping = later(scores, 2).masked_fill(~may_skip, -torch.inf)
        scores, step = torch.stack([scores, later(scores, 1), skipping]).max(dim=0)
        scores = scores + said[:, query]
        steps.append(step)
    ends = torch.stack([2 * lengths, (2 * lengths - 1).clamp(min=0)], dim=1)
    state = ends.gather(1, scores.gather(1, ends).argmax(dim=1, keepdim=True))
    found = [state]
    for step in reversed(steps):
        state = (state - step.gather(1, state)).clamp(min=0)
        found.append(state)
    return states.gather(1, torch.cat(found[::-1], dim=1))


def show_mistakes(logits: Tensor, target: Tensor, lengths: Tensor, blank: int, share: float) -> Shown:
    """Choose, at random, as many queries as a share of those that do not say what the target's likeliest path says.

    Args:
        logits: of a first pass (B, N, V + 1).
        target: token ids (B, L), right-padded.
        lengths: their numbers (B,); 0 where nothing is to be shown.
        blank: index of the blank.
        share: from 0 to 1; the number is rounded.
    """
    path = best_paths(logits, target, lengths, blank)
    mistakes = (path != logits.argmax(dim=-1)).sum(dim=1)
    number = (share * mistakes).round().masked_fill(lengths == 0, 0)
    rank = torch.rand(path.shape, device=path.device).argsort(dim=1).argsort(dim=1)
    return Shown(rank < number.unsqueeze(1), path)

"""The maths of the leads: alignments to show, the shortest references, codes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from narvl.criterions._parallel import SampleLosses
from narvl.criterions.query_ctc import References, references_needed
from narvl.errors import UsageError


def references_of(sample: dict[str, Any], queries: int | None = None) -> References:
    """Return a batch's references; of those only that so many queries can say, where a number is given.

    Raises:
        UsageError: the batch has none.
    """
    if "references" not in sample:
        raise UsageError("benchmarks/leads: the leads learn from several references. Add --references all.")
    references = References(**sample["references"])
    if queries is None:
        return references
    unsaid = references_needed(references) > queries
    return replace(references, lengths=references.lengths.masked_fill(unsaid, 0))


def likeliest_reference(log_probs: Tensor, references: References, blank: int) -> tuple[Tensor, Tensor]:
    """Choose each sample's likeliest reference.

    Args:
        log_probs: (B, N, V + 1).
        references: of the B samples.
        blank: index of the blank.

    Returns:
        Its token ids (B, L), right-padded, and their numbers (B,): 0 where no reference can be said.
    """
    batch, places, width = references.tokens.shape
    nll = F.ctc_loss(
        log_probs.repeat_interleave(places, dim=0).transpose(0, 1),
        references.tokens.flatten(0, 1),
        references.lengths.new_full((batch * places,), log_probs.size(1)),
        references.lengths.flatten(),
        blank=blank,
        reduction="none",
    ).view(batch, places)
    nll = nll.masked_fill(references.lengths == 0, torch.inf)
    best, chosen = nll.min(dim=1)
    rows = torch.arange(batch, device=chosen.device)
    return references.tokens[rows, chosen], references.lengths[rows, chosen].masked_fill(best.isinf(), 0)


def best_paths(log_probs: Tensor, target: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Find the likeliest path of each target (Viterbi's algorithm over CTC's states: blank, token, blank, ...).

    Args:
        log_probs: (B, N, V + 1).
        target: token ids (B, L), right-padded; they can be said by N queries.
        lengths: their numbers (B,).
        blank: index of the blank.

    Returns:
        Symbols (B, N), which collapse to the target.
    """
    batch, queries, _ = log_probs.shape
    states = target.new_full((batch, 2 * target.size(1) + 1), blank)
    states[:, 1::2] = target
    # A blank between two tokens may be left out, unless they are equal.
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = target[:, 1:] != target[:, :-1]
    emitted = log_probs.gather(2, states.unsqueeze(1).expand(-1, queries, -1))

    def shifted(scores: Tensor, by: int) -> Tensor:
        return F.pad(scores, (by, 0), value=-torch.inf)[:, : scores.size(1)]

    scores = emitted[:, 0].clone()
    scores[:, 2:] = -torch.inf
    steps = []
    for query in range(1, queries):
        skipping = shifted(scores, 2).masked_fill(~may_skip, -torch.inf)
        scores, step = torch.stack([scores, shifted(scores, 1), skipping]).max(dim=0)
        scores = scores + emitted[:, query]
        steps.append(step)
    last = 2 * lengths
    ends = torch.stack([last, (last - 1).clamp(min=0)], dim=1)
    state = ends.gather(1, scores.gather(1, ends).argmax(dim=1, keepdim=True))
    found = [state]
    for step in reversed(steps):
        state = state - step.gather(1, state)
        found.append(state)
    return states.gather(1, torch.cat(found[::-1], dim=1))


def keep_shortest(references: References, share: float) -> References:
    """Leave out all but a share of each sample's references, the shortest first; at least one.

    Args:
        references: of the B samples.
        share: of the places, from 0 to 1.
    """
    places = references.lengths.size(1)
    kept = max(1, round(share * places))
    absent = references.lengths == 0
    order = references.lengths.masked_fill(absent, torch.iinfo(torch.long).max).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1)
    return replace(references, lengths=references.lengths.masked_fill(rank >= kept, 0))


def sum_over_codes(losses: SampleLosses, log_prior: Tensor, lengths: Tensor) -> SampleLosses:
    """Return -log sum_k p(k) p(y | k), divided by the references' mean length as each code's loss is.

    Args:
        losses: of every sample with every code, the codes of a sample side by side (B K); without label smoothing.
        log_prior: of the codes (B, K).
        lengths: tokens of each sample's references, which all count alike (B, R); 0 of those that cannot be said.
    """
    each = replace(losses, **{name: value.view(log_prior.shape) for name, value in vars(losses).items()})
    length = lengths.sum(1) / (lengths > 0).sum(1).clamp(min=1)
    loss = -torch.logsumexp(log_prior - each.loss * length.unsqueeze(1), dim=1) / length.clamp(min=1)
    first = {name: value[:, 0] for name, value in vars(each).items()}
    loss = torch.where(first["reachable"], loss, 0.0)
    return SampleLosses(**{**first, "loss": loss, "nll": loss})

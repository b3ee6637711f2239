"""No n-gram twice: which tokens would repeat one."""

from __future__ import annotations

from torch import Tensor


def block_repeats(log_probs: Tensor, columns: Tensor, size: int) -> None:
    """Give -inf, in place, to the tokens that would complete an n-gram for the second time.

    Args:
        log_probs: of the next token (R, K).
        columns: ``<s>`` and what was said so far, as columns of ``log_probs`` (R, T). ``<s>`` begins n-grams, but ends
            none.
        size: n, at least 1.
    """
    before = size - 1
    starts = columns.size(1) - before  # of n-grams said
    if starts < 1:
        return
    last = columns[:, starts:].unsqueeze(1)  # the tokens before the next one
    repeated = (columns.unfold(1, before, 1)[:, :starts] == last).all(dim=-1)
    penalties = log_probs.new_zeros(repeated.shape).masked_fill_(repeated, float("-inf"))
    begun = 0 if before else 1
    log_probs.scatter_add_(1, columns[:, before + begun :], penalties[:, begun:])

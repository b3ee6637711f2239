"""What a search for texts starts from, and the plain search: CTC prefixes, path by path."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Choices:
    """What one sample's queries may say: each query's top-k tokens, and the blank.

    Attributes:
        classes: the tokens that some query may say (K - 1,), in increasing order.
        log_probs: (N, K), the blank first, then ``classes``; -inf where a token is not among the query's top-k. On the
            CPU, float32, contiguous.
    """

    classes: Tensor
    log_probs: Tensor

    def tokens(self, columns: list[int]) -> list[int]:
        """Turn columns of ``log_probs``, none of them the blank's, into token ids."""
        return [self._ids[column - 1] for column in columns]

    @cached_property
    def _ids(self) -> list[int]:
        return self.classes.tolist()


#: A search: what the queries may say and the beam in, columns of each proposed sequence out.
Search = Callable[[Choices, int], list[list[int]]]


def top_choices(log_probs: Tensor, blank: int, top_k: int) -> list[Choices]:
    """Narrow each query of a batch (B, N, V + 1) to its ``top_k`` tokens and the blank."""
    size = min(top_k + 1, log_probs.size(-1))
    values, classes = (found.cpu() for found in log_probs.float().topk(size, dim=-1))
    blanks = log_probs[..., blank].float().cpu()
    keep = classes.ne(blank) & values.isfinite()
    if size > top_k:  # one more was asked for, in case the blank is among them
        keep[..., -1] &= classes.eq(blank).any(-1)
    choices = []
    for row_values, row_classes, row_keep, row_blanks in zip(values, classes, keep, blanks, strict=True):
        tokens, places = row_classes[row_keep].unique(return_inverse=True)
        table = torch.full((len(row_blanks), len(tokens) + 1), -math.inf)
        table[:, 0] = row_blanks
        table[row_keep.nonzero()[:, 0], places + 1] = row_values[row_keep]
        choices.append(Choices(tokens, table))
    return choices


def plain_search(choices: Choices, beam: int) -> list[list[int]]:
    """Search prefixes, each with the probability of its paths that end in a blank, and of those that do not.

    Source: A. Hannun et al., arXiv 1408.2873, algorithm 1, without a language model.

    Returns:
        At most ``beam`` sequences of columns of ``choices.log_probs``, the most probable first.
    """
    prefixes: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for blank, *tokens in choices.log_probs.tolist():
        sayable = [(column, value) for column, value in enumerate(tokens, start=1) if value > -math.inf]
        ends_blank: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
        ends_token: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
        for prefix, (by_blank, by_token) in prefixes.items():
            whole = _log_add(by_blank, by_token)
            ends_blank[prefix] = _log_add(ends_blank[prefix], whole + blank)
            for column, value in sayable:
                longer = (*prefix, column)
                if prefix and column == prefix[-1]:  # the same token: merged, or after a blank said anew
                    ends_token[prefix] = _log_add(ends_token[prefix], by_token + value)
                    ends_token[longer] = _log_add(ends_token[longer], by_blank + value)
                else:
                    ends_token[longer] = _log_add(ends_token[longer], whole + value)
        both = {prefix: (ends_blank[prefix], ends_token[prefix]) for prefix in {**ends_blank, **ends_token}}
        best = sorted(both, key=lambda prefix: _log_add(*both[prefix]), reverse=True)[:beam]
        prefixes = {prefix: both[prefix] for prefix in best if max(both[prefix]) > -math.inf}
    return [list(prefix) for prefix in prefixes]


def _log_add(first: float, second: float) -> float:
    high, low = (first, second) if first > second else (second, first)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))

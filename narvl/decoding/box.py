"""The most probable box of queries that say one coordinate each: a pure function."""

from __future__ import annotations

import torch
from torch import Tensor

from narvl.decoding.ctc import Decoded

#: Coordinates of a box: left, top, right, bottom.
COORDINATES = 4


def most_probable_boxes(log_probs: Tensor, first_bin: int, num_bins: int) -> list[Decoded]:
    """Find each sample's most probable box that has an area.

    The queries say their coordinates independently of each other. Where a model wavers between two objects, the best
    class of each query may mix them: a right side left of the left one is no box. Among the pairs of bins in the right
    order, the one of the greatest joint probability is taken, for each axis.

    Args:
        log_probs: (B, N, V + 1), N at least 4; the first four queries say left, top, right and bottom.
        first_bin: id of the first location bin.
        num_bins: number of bins, at least 2.

    Returns:
        Four bins a sample, on the host, the left below the right one and the top below the bottom one.
    """
    bins = log_probs[:, :COORDINATES, first_bin : first_bin + num_bins]
    begin, end = bins[:, :2], bins[:, 2:]  # (B, 2, bins): left and top, right and bottom
    best_begin, its_bin = begin.cummax(dim=-1)  # the best left side up to each bin
    last = (best_begin[..., :-1] + end[..., 1:]).argmax(dim=-1) + 1
    first = its_bin.gather(-1, (last - 1).unsqueeze(-1)).squeeze(-1)
    chosen = torch.cat([first, last], dim=1)  # (B, 4)
    scores = bins.gather(2, chosen.unsqueeze(2)).squeeze(2).cpu()
    return [Decoded(tokens, values) for tokens, values in zip((chosen + first_bin).cpu(), scores, strict=True)]

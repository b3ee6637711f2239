"""Log-probabilities of a few classes out of many, without a second tensor of the logits' size: the losses' material.

A loss over V = 59,458 classes needs the log-probabilities of a handful of them at each query and, for label smoothing,
their mean. Spelt out in torch's functions every step reads and writes (B, N, V) once more. Here the logits are read
once forward and once backward, and the gradient is written once, in blocks of rows that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Values of a block: about what a CPU core's cache holds; on GPUs few launches count for more.
_CPU_BLOCK = 1 << 18
_GPU_BLOCK = 1 << 26


def pick_log_probs(logits: Tensor, columns: Tensor, overwrite: bool = False) -> tuple[Tensor, Tensor]:
    """Compute ``log_softmax(logits)`` at some columns, and its mean over all of them.

    Args:
        logits: (..., K), any float type; half precision is computed in float32.
        columns: (..., C), classes in [0, K); one may occur several times.
        overwrite: let the backward pass write the gradient over the logits, where their memory is their own (no
            parameter, no view). They must not be read, nor differentiated through, a second time.

    Returns:
        Log-probabilities (..., C) and their means over the K classes (...), in float32 (float64 for such logits).
    """
    picked, mean = _PickLogProbs.apply(logits, columns, overwrite and not (logits.is_leaf or logits._is_view()))
    return picked, mean


class _PickLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, columns: Tensor, overwrite: bool) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)  # whether the mean is used is known without a look at the device
        flat = logits.flatten(0, -2)
        exact = torch.float64 if logits.dtype == torch.float64 else torch.float32
        total = flat.new_empty(len(flat), dtype=exact)
        mean = torch.empty_like(total)
        for rows in _blocks(flat):
            block = flat[rows].to(exact)
            torch.logsumexp(block, dim=-1, out=total[rows])
            torch.mean(block, dim=-1, out=mean[rows])
        total, mean = total.view(logits.shape[:-1]), mean.view(logits.shape[:-1])
        ctx.save_for_backward(logits, columns, total)
        ctx.overwrite, ctx.overwritten = overwrite, False
        return logits.gather(-1, columns).to(exact) - total.unsqueeze(-1), mean - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_picked: Tensor | None, grad_mean: Tensor | None) -> tuple[Tensor | None, None, None]:
        if grad_picked is None and grad_mean is None:
            return None, None, None
        assert not ctx.overwritten, "the logits were overwritten by their gradient: they have none a second time"
        ctx.overwritten = ctx.overwrite
        logits, columns, total = ctx.saved_tensors
        flat, total, columns = logits.detach().flatten(0, -2), total.flatten(), columns.flatten(0, -2)
        gradient = flat if ctx.overwrite else torch.empty_like(flat)
        picked = None if grad_picked is None else grad_picked.flatten(0, -2)
        mean = None if grad_mean is None else grad_mean.flatten()
        share = torch.zeros_like(total)
        for part in (mean, None if picked is None else picked.sum(-1)):
            if part is not None:
                share -= part
        # d log p_c / d logit_k = [c = k] - p_k, and the mean's is 1/K - p_k. Where the model is sure, both terms are
        # near 1 and what is learned is their difference: half precision takes it alone, rounded once.
        for rows in _blocks(flat):
            block = torch.sub(flat[rows], total[rows, None]).exp_().mul_(share[rows, None])
            if mean is not None:
                block += mean[rows, None] / flat.size(1)
            if picked is not None:
                block.scatter_add_(-1, columns[rows], picked[rows])
            gradient[rows] = block
        return gradient.view(logits.shape), None, None


def _blocks(flat: Tensor) -> Iterator[slice]:
    rows = max(1, (_GPU_BLOCK if flat.is_cuda else _CPU_BLOCK) // flat.size(1))
    for first in range(0, len(flat), rows):
        yield slice(first, first + rows)

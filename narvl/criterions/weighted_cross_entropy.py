"""Criterion ``weighted_cross_entropy``: fairseq's label-smoothed cross-entropy with a weight a sample.

The autoregressive counterpart of what the parallel criterions do with a sample's ``weight``: it multiplies the loss of
each of the sample's tokens. Without weights the value is that of ``label_smoothed_cross_entropy``.
"""

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)
from torch import Tensor


def weighted_cross_entropy(
    log_probs: Tensor, target: Tensor, weight: Tensor, label_smoothing: float, padding: int
) -> tuple[Tensor, Tensor]:
    """Compute the weighted loss of each token, and its part without label smoothing.

    Args:
        log_probs: (B * L, V).
        target: token ids (B * L,), each sample's L right-padded.
        weight: a factor a sample (B,).
        label_smoothing: share of the loss that pulls towards the uniform distribution.
        padding: id of the padding, which has no loss.

    Returns:
        Two tensors of B * L values in nats, 0 at the padding; the second is unweighted.
    """
    loss, nll = label_smoothed_nll_loss(log_probs, target, label_smoothing, ignore_index=padding, reduce=False)
    return loss.squeeze(-1) * weight.to(loss).repeat_interleave(len(target) // len(weight)), nll.squeeze(-1)


@register_criterion("weighted_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class WeightedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Trains the autoregressive model on weighted samples."""

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Compute a batch's loss (fairseq's hook)."""
        log_probs, target = self.get_lprobs_and_target(model, net_output, sample)
        loss, nll = weighted_cross_entropy(log_probs, target, sample["weight"], self.eps, self.padding_idx)
        return (loss.sum(), nll.sum()) if reduce else (loss, nll)

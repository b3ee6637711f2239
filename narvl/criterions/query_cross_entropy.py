"""Criterion ``query_cross_entropy``: query i says token i (the ablation of the paper's table 8).

The target's L tokens are the targets of the first L queries. What the other N - L say is trained to be the blank by
default: then every query has one right output, and the decoder ends a text by blanks even where it missed ``</s>``.
``--unused-queries ignore`` leaves them untrained, and decoding relies on ``</s>`` alone.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import ChoiceEnum
from torch import Tensor

from narvl.criterions._config import ParallelConfig
from narvl.criterions._log_probs import pick_log_probs
from narvl.criterions._parallel import ParallelCriterion, SampleLosses


@dataclass
class QueryCrossEntropyConfig(ParallelConfig):
    """Configuration of ``query_cross_entropy``."""

    unused_queries: ChoiceEnum(["blank", "ignore"]) = field(  # type: ignore[valid-type]
        default="blank", metadata={"help": "what queries beyond the target's end learn: the blank, or nothing"}
    )


def query_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    lengths: Tensor,
    blank: int,
    label_smoothing: float = 0.0,
    train_unused: bool = True,
    overwrite: bool = False,
    padding: Tensor | None = None,
) -> SampleLosses:
    """Compute the position-wise cross-entropy of each sample.

    Args:
        logits: (B, N, V + 1), any float type.
        target: token ids (B, L), right-padded; ``</s>`` included, ``<s>`` not.
        lengths: numbers of target tokens (B,); a sample without any is counted out like an unreachable one.
        blank: index of the blank.
        label_smoothing: e in (1-e) * nll + e * (-mean log p over vocabulary), at each trained query.
        train_unused: whether the queries beyond the target learn the blank.
        overwrite: let the backward pass write over the logits, see ``pick_log_probs``.
        padding: (B, N), True at positions without output, after all others; None without any.

    Returns:
        Losses in nats, summed over the trained queries and divided by the target's length, as in Q-CTC.
    """
    batch, queries, _ = logits.shape
    reachable = (lengths > 0) & (lengths <= (queries if padding is None else (~padding).sum(1)))
    positions = torch.arange(queries, device=target.device)
    said = positions < lengths.unsqueeze(1)
    labels = target.new_full((batch, queries), blank)
    width = min(queries, target.size(1))
    labels[:, :width] = target[:, :width]
    labels = labels.masked_fill(~said, blank)
    trained = (said | train_unused) & reachable.unsqueeze(1)
    if padding is not None:
        trained = trained & ~padding
    divisor = lengths.clamp(min=1)

    log_probs, mean_log_prob = pick_log_probs(logits, labels.unsqueeze(2), overwrite)
    nll = torch.where(trained, -log_probs.squeeze(2), 0.0).sum(1) / divisor
    loss = nll
    if label_smoothing > 0:
        smooth = torch.where(trained, -mean_log_prob, 0.0).sum(1) / divisor
        loss = (1 - label_smoothing) * nll + label_smoothing * smooth
    given = (lengths > 0).long()
    return SampleLosses(loss, nll, reachable, lengths, given, given * ~reachable)


@register_criterion("query_cross_entropy", dataclass=QueryCrossEntropyConfig)
class QueryCrossEntropyCriterion(ParallelCriterion):
    """Trains query i to say token i."""

    alignment = "position"

    def __init__(self, cfg: QueryCrossEntropyConfig, task: Any) -> None:
        super().__init__(cfg, task)
        self.train_unused = str(cfg.unused_queries) == "blank"

    def losses(self, logits: Tensor, sample: dict[str, Any], blank: int, padding: Tensor | None) -> SampleLosses:
        """Compute each sample's position-wise cross-entropy; the backward pass writes over the logits."""
        return query_cross_entropy_loss(
            logits,
            sample["target"],
            sample["target_lengths"],
            blank,
            self.label_smoothing,
            self.train_unused,
            overwrite=True,
            padding=padding,
        )

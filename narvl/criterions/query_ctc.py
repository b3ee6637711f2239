"""Criterion ``query_ctc``: the Query-CTC loss (paper, section 3.2).

With B(z) the collapse of a path z (merge equal neighbours, then drop blanks), the loss of a target y is

    -log sum over {z : B(z) = y} of  prod_i p_i(z_i)

over the N queries i: CTC whose time steps are the queries. (Equation 1 of the paper prints the logarithm inside the
sum; its method, and CTC, take it outside.)
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor

from narvl.criterions._log_probs import pick_log_probs
from narvl.criterions._parallel import ParallelCriterion, SampleLosses


@dataclass
class QueryCTCConfig(FairseqDataclass):
    """Configuration of ``query_ctc``."""

    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "share of the loss that pulls every query towards the uniform distribution (paper: 0.1)"},
    )


def queries_needed(target: Tensor, lengths: Tensor) -> Tensor:
    """Count the queries that a target needs: its tokens, and a blank between equal neighbours.

    Args:
        target: token ids (B, L), right-padded.
        lengths: their numbers (B,).

    Returns:
        (B,).
    """
    inside = torch.arange(1, target.size(1), device=target.device) < lengths.unsqueeze(1)
    return lengths + (target[:, 1:].eq(target[:, :-1]) & inside).sum(1)


def query_ctc_loss(
    logits: Tensor,
    target: Tensor,
    lengths: Tensor,
    blank: int,
    label_smoothing: float = 0.0,
    overwrite: bool = False,
) -> SampleLosses:
    """Compute the Q-CTC loss of each sample.

    Only the target's tokens and the blank enter the sum over paths, so their log-probabilities alone are handed to
    torch's ``ctc_loss``, which spares its workspace and gradient of size (N, B, V). Half-precision logits are computed
    in float32.

    Args:
        logits: (B, N, V + 1), any float type.
        target: token ids (B, L), right-padded; ``</s>`` included, ``<s>`` not.
        lengths: numbers of target tokens (B,); a sample without any is counted out like an unreachable one.
        blank: index of the blank.
        label_smoothing: e in (1-e) * nll + e * (-mean log p over queries and vocabulary).
        overwrite: let the backward pass write over the logits, see ``pick_log_probs``.

    Returns:
        Losses in nats, divided by the target's length.
    """
    batch, queries, _ = logits.shape
    needed = queries_needed(target, lengths)
    reachable = (needed <= queries) & (lengths > 0)

    # Class 0 is the blank, class l the target's l-th token; repeated tokens share the class of their first occurrence,
    # as CTC must know which labels are equal.
    inside = torch.arange(target.size(1), device=target.device) < lengths.unsqueeze(1)
    tokens = target.masked_fill(~inside, blank)
    classes = tokens.unsqueeze(2).eq(tokens.unsqueeze(1)).long().argmax(dim=2) + 1
    columns = torch.cat([tokens.new_full((batch, 1), blank), tokens], dim=1)
    log_probs, mean_log_prob = pick_log_probs(logits, columns.unsqueeze(1).expand(-1, queries, -1), overwrite)

    # Unreachable targets are given no labels: a finite path keeps their NaN gradients out of the batch.
    nll = F.ctc_loss(
        log_probs.transpose(0, 1),
        classes,
        torch.full_like(lengths, queries),
        lengths.masked_fill(~reachable, 0),
        blank=0,
        reduction="none",
    )
    # torch's gradient is p - posterior, right for a softmax over all classes only. The true gradient with respect to
    # these log-probabilities is -posterior; this term is zero and its gradient is -p.
    nll = nll + (log_probs.detach().exp() * (log_probs.detach() - log_probs)).sum(dim=(1, 2))

    nll = torch.where(reachable, nll / lengths.clamp(min=1), 0.0)
    loss = nll
    if label_smoothing > 0:
        smooth = torch.where(reachable, -mean_log_prob.mean(dim=-1), 0.0)
        loss = (1 - label_smoothing) * nll + label_smoothing * smooth
    return SampleLosses(loss, nll, reachable, needed)


@register_criterion("query_ctc", dataclass=QueryCTCConfig)
class QueryCTCCriterion(ParallelCriterion):
    """Trains the queries' alignment-free output: any monotonic placement of the tokens among blanks counts."""

    alignment = "ctc"

    @classmethod
    def build_criterion(cls, cfg: QueryCTCConfig, task: Any) -> "QueryCTCCriterion":
        """Build from the command line's configuration."""
        return cls(task, cfg.label_smoothing)

    def losses(self, logits: Tensor, target: Tensor, lengths: Tensor, blank: int) -> SampleLosses:
        """Compute each sample's Q-CTC loss; the backward pass writes over the logits."""
        return query_ctc_loss(logits, target, lengths, blank, self.label_smoothing, overwrite=True)

"""Criterion ``query_ctc``: the Query-CTC loss (paper, section 3.2), of one target a sample or of several references.

With B(z) the collapse of a path z (merge equal neighbours, then drop blanks), the loss of a target y is

    -log p(y) = -log sum over {z : B(z) = y} of  prod_i p_i(z_i)

over the N queries i: CTC whose time steps are the queries. (Equation 1 of the paper prints the logarithm inside the
sum; its method, and CTC, take it outside.)

Where an image has R references y_r (``--references all``), the loss is this project's own, reference-marginal Q-CTC:
docs/references.md derives it.

    -T log sum_r w_r p(y_r)^(s_r/T),    w_r > 0, sum_r w_r = 1,    s_r = (mean length / length of y_r)^a

with a = 0, so that s_r = 1, unless ``--reference-lenpen`` says another. From an update on (``--pairs-after``) the loss
may be that of pairs of neighbouring tokens instead (``narvl.criterions._pairs``).
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from torch import Tensor

from narvl.criterions._config import ParallelConfig
from narvl.criterions._log_probs import pick_log_probs
from narvl.criterions._pairs import pair_loss
from narvl.criterions._parallel import ParallelCriterion, SampleLosses, mean_over_outputs
from narvl.errors import UsageError


@dataclass
class QueryCTCConfig(ParallelConfig):
    """Configuration of ``query_ctc``."""

    reference_temperature: float = field(
        default=1.0,
        metadata={
            "help": "T of the loss over several references (--references all): 1 takes the logarithm of their summed"
            " probability; less comes closer to the likeliest reference alone, more to the mean of their losses"
        },
    )
    reference_lenpen: float = field(
        default=0.0,
        metadata={
            "help": "references compete by their log-probability over their length to this power (--references all): 0"
            " favours short ones, which are likelier for being short; 1 compares them by the token"
        },
    )
    pairs_after: int = field(
        default=0,
        metadata={
            "help": "from this update on learn to say the pairs of neighbouring tokens of the reference that the model"
            " matches best, in place of its probability, e.g. for the last quarter of a training; 0 never does"
        },
    )


#: Beyond these the loss's value is lost to rounding in float32.
_TEMPERATURES = (1e-3, 1e4)
#: The largest; above 1 long references are favoured.
_LENPEN = 3.0


@dataclass(frozen=True)
class References:
    """The references of a batch's samples, K places each.

    Attributes:
        tokens: token ids (B, K, L), right-padded; ``</s>`` included, ``<s>`` not.
        lengths: numbers of tokens (B, K); 0 at places without a reference.
        weights: what each counts (B, K). Only the ratios within a sample matter; where all are 0 they count alike.
    """

    tokens: Tensor
    lengths: Tensor
    weights: Tensor


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


def references_needed(references: References) -> Tensor:
    """Count the queries that each reference needs (B, K)."""
    needed = queries_needed(references.tokens.flatten(0, 1), references.lengths.flatten())
    return needed.view(references.lengths.shape)


def queries_of(logits: Tensor, padding: Tensor | None) -> Tensor | int:
    """Return how many queries each sample has (B, 1), or all alike; ``padding`` as below."""
    return logits.size(1) if padding is None else (~padding).sum(1, keepdim=True)


def only_reference(target: Tensor, lengths: Tensor) -> References:
    """Return each sample's one target (B, L), of so many tokens (B,), as references."""
    return References(target.unsqueeze(1), lengths.unsqueeze(1), torch.ones_like(lengths).unsqueeze(1))


def query_ctc_loss(
    logits: Tensor,
    target: Tensor,
    lengths: Tensor,
    blank: int,
    label_smoothing: float = 0.0,
    overwrite: bool = False,
    padding: Tensor | None = None,
) -> SampleLosses:
    """Compute the Q-CTC loss of each sample's one target.

    Args:
        logits: (B, N, V + 1), any float type.
        target: token ids (B, L), right-padded; ``</s>`` included, ``<s>`` not.
        lengths: numbers of target tokens (B,); a sample without any is counted out like an unreachable one.
        blank: index of the blank.
        label_smoothing: e in (1-e) * nll + e * (-mean log p over queries and vocabulary).
        overwrite: let the backward pass write over the logits, see ``pick_log_probs``.
        padding: (B, N), True at positions without output, whose logits must say the blank; None without any.

    Returns:
        Losses in nats, divided by the target's length.
    """
    only = only_reference(target, lengths)
    return marginal_query_ctc_loss(
        logits, only, blank, label_smoothing=label_smoothing, overwrite=overwrite, padding=padding
    )


def marginal_query_ctc_loss(
    logits: Tensor,
    references: References,
    blank: int,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    overwrite: bool = False,
    padding: Tensor | None = None,
    lenpen: float = 0.0,
) -> SampleLosses:
    """Compute the loss of each sample over those of its references that its queries can say.

    Args:
        logits: (B, N, V + 1), any float type.
        references: of the B samples.
        blank: index of the blank.
        temperature: T in -T log sum_r w_r p(y_r)^(1/T), above 0.
        label_smoothing: e in (1-e) * nll + e * (-mean log p over queries and vocabulary).
        overwrite: let the backward pass write over the logits, see ``pick_log_probs``.
        padding: (B, N), True at positions without output, whose logits must say the blank; None without any.
        lenpen: a in -T log sum_r w_r p(y_r)^(s_r/T) with s_r = (mean length / length of y_r)^a, at least 0.

    Returns:
        Losses in nats, divided by the weighted mean length of the references that can be said.
    """
    needed = references_needed(references)
    present, counts = references.lengths > 0, references.weights > 0
    given = present & (counts | ~(present & counts).any(1, keepdim=True))
    said = given & (needed <= queries_of(logits, padding))
    nll, mean_log_prob = _reference_losses(logits, references, said, blank, overwrite)

    reachable = said.any(dim=1)
    weights = torch.where(said, torch.where(counts, references.weights, 1), 0).to(nll)
    weights = weights / weights.sum(1, keepdim=True)
    # Samples without a reachable reference are given finite values: the gradient of log 0 is no number.
    weights = torch.where(reachable.unsqueeze(1), weights, 1.0)
    length = (weights * references.lengths).sum(1).clamp(min=1)
    if lenpen > 0:
        nll = nll * (length.unsqueeze(1) / references.lengths.clamp(min=1)) ** lenpen
    marginal = -temperature * torch.logsumexp(weights.log() - nll / temperature, dim=1) / length
    marginal = torch.where(reachable, marginal, 0.0)
    loss = marginal
    if label_smoothing > 0:
        smooth = torch.where(reachable, -mean_over_outputs(mean_log_prob, padding), 0.0)
        loss = (1 - label_smoothing) * marginal + label_smoothing * smooth
    least = needed.masked_fill(~given, torch.iinfo(needed.dtype).max).amin(1).masked_fill(~given.any(1), 0)
    return SampleLosses(loss, marginal, reachable, least, given.sum(1), (given & ~said).sum(1))


def _reference_losses(
    logits: Tensor, references: References, said: Tensor, blank: int, overwrite: bool
) -> tuple[Tensor, Tensor]:
    """Compute -log p of each reference (B, K), and the mean log-probability of each query (B, N).

    A parallel decoder's logits do not depend on the target: those of a sample serve all its references. Only the
    references' tokens and the blank enter the sums over paths, so their log-probabilities alone are handed to torch's
    ``ctc_loss``, which spares its workspace and gradient of size (N, B, V) and makes further references cheap.
    Half-precision logits are computed in float32.
    """
    queries = logits.size(1)
    batch, places, width = references.tokens.shape
    lengths = references.lengths.flatten()
    inside = torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)
    tokens = references.tokens.flatten(0, 1).masked_fill(~inside, blank)

    columns = F.pad(tokens.view(batch, places * width), (1, 0), value=blank)
    picked, mean_log_prob = pick_log_probs(logits, columns.unsqueeze(1).expand(-1, queries, -1), overwrite)
    blanks = picked[:, :, :1].unsqueeze(1).expand(-1, places, -1, -1)
    spelled = picked[:, :, 1:].unflatten(2, (places, width)).transpose(1, 2)
    log_probs = torch.cat([blanks, spelled], dim=3).flatten(0, 1)  # (B * K, N, 1 + L)

    # Class 0 is the blank, class l the reference's l-th token; repeated tokens share the class of their first
    # occurrence, as CTC must know which labels are equal.
    classes = tokens.unsqueeze(2).eq(tokens.unsqueeze(1)).long().argmax(dim=2) + 1
    # References out of reach are given no labels: a finite path keeps their NaN gradients out of the batch.
    nll = F.ctc_loss(
        log_probs.transpose(0, 1),
        classes,
        torch.full(lengths.shape, queries),  # on the host, where torch reads it
        lengths.masked_fill(~said.flatten(), 0),
        blank=0,
        reduction="none",
    )
    # torch's gradient is p - posterior, right for a softmax over all classes only. The true gradient with respect to
    # these log-probabilities is -posterior; this term is zero and its gradient is -p.
    nll = nll + (log_probs.detach().exp() * (log_probs.detach() - log_probs)).sum(dim=(1, 2))
    return nll.view(batch, places), mean_log_prob


@register_criterion("query_ctc", dataclass=QueryCTCConfig)
class QueryCTCCriterion(ParallelCriterion):
    """Trains the queries' alignment-free output: any monotonic placement of the tokens among blanks counts."""

    alignment = "ctc"
    takes_references = True

    def __init__(self, cfg: QueryCTCConfig, task: Any) -> None:
        super().__init__(cfg, task)
        least, most = _TEMPERATURES
        if not least <= cfg.reference_temperature <= most:
            raise UsageError(
                f"--reference-temperature {cfg.reference_temperature}: give a value from {least} (nearly the likeliest "
                f"reference alone) to {most:g} (nearly the mean of all)."
            )
        self.temperature = cfg.reference_temperature
        if not 0.0 <= cfg.reference_lenpen <= _LENPEN:
            raise UsageError(
                f"--reference-lenpen {cfg.reference_lenpen}: give a value from 0 (by probability) over 1 (by the "
                f"token) to {_LENPEN:g}."
            )
        self.lenpen = cfg.reference_lenpen
        if cfg.pairs_after < 0:
            raise UsageError(f"--pairs-after {cfg.pairs_after}: give a number of updates, or 0 for never.")
        self.pairs_after = cfg.pairs_after
        self._updates = 0
        self._matches = False

    def set_num_updates(self, number: int) -> None:
        """Take note of how many updates were made before the next batch (``GuardedTask.train_step``)."""
        self._updates = number

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute a batch's loss (``ParallelCriterion.forward``); validation judges by Q-CTC at any time."""
        self._matches = model.training and 0 < self.pairs_after <= self._updates
        return super().forward(model, sample, reduce)

    def losses(self, logits: Tensor, sample: dict[str, Any], blank: int, padding: Tensor | None) -> SampleLosses:
        """Compute each sample's loss over its references, or its one target; the backward may write over the logits."""
        if not self._matches:
            return self._marginal(logits, sample, blank, padding)
        with torch.no_grad():  # what is logged beside the loss, and who can be reached
            result = self._marginal(logits.detach(), sample, blank, padding)
        given = only_reference(sample["target"], sample["target_lengths"])
        if "references" in sample:
            given = References(**sample["references"])
        unsaid = references_needed(given) > queries_of(logits, padding)
        lengths = given.lengths.masked_fill(unsaid, 0)
        exact = logits if logits.dtype == torch.float64 else logits.float()
        loss = pair_loss(exact.softmax(-1), given.tokens, lengths, blank)
        return replace(result, loss=torch.where(result.reachable, loss, 0.0))

    def _marginal(self, logits: Tensor, sample: dict[str, Any], blank: int, padding: Tensor | None) -> SampleLosses:
        smoothing = self.label_smoothing
        if "references" not in sample:
            target, lengths = sample["target"], sample["target_lengths"]
            return query_ctc_loss(logits, target, lengths, blank, smoothing, overwrite=True, padding=padding)
        given = References(**sample["references"])
        return marginal_query_ctc_loss(
            logits, given, blank, self.temperature, smoothing, overwrite=True, padding=padding, lenpen=self.lenpen
        )

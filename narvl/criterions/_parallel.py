"""What the losses of the parallel model share: one value a sample, its weight, its sum, and what is logged of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from torch import Tensor

from narvl.criterions._config import ParallelConfig
from narvl.errors import UsageError
from narvl.models.narvl import NARVLModel
from narvl.models.ofa import unwrap

# Targets that must have been seen before "not one is reachable" is called an error.
_ENOUGH_TARGETS = 8


@dataclass(frozen=True)
class SampleLosses:
    """A batch's losses before reduction, each (B,).

    Attributes:
        loss: what is trained on, in nats; 0 where the target is unreachable.
        nll: its part without label smoothing; 0 where the target is unreachable.
        reachable: False where the target needs more queries than there are.
        needed: queries that the target needs; of several references, those that the shortest needs; 0 without a token.
        references: how many references the sample has.
        unsaid: how many of them need more queries than there are.
    """

    loss: Tensor
    nll: Tensor
    reachable: Tensor
    needed: Tensor
    references: Tensor
    unsaid: Tensor


class ParallelCriterion(FairseqCriterion):
    """Sums a loss over the batch's reachable targets; their number is fairseq's ``sample_size``.

    Two half batches therefore give the gradient of one whole batch, with gradient accumulation and across ranks.
    A sample's ``weight`` (B,) in the batch multiplies its loss. Unreachable targets are counted (``unreachable``, their
    share) and left out of loss, gradient and ``sample_size``; so are references out of reach beside others that are not
    (``unreachable_references``). Validation judges the row's one target, whatever training learns from: its loss
    compares trainings.
    """

    #: Value of ``--alignment`` that the loss trains.
    alignment: str
    #: Whether it learns from all references of a sample at once (``--references all``).
    takes_references = False

    def __init__(self, cfg: ParallelConfig, task: Any) -> None:
        super().__init__(task)
        if not 0.0 <= cfg.label_smoothing < 1.0:
            raise UsageError(f"--label-smoothing {cfg.label_smoothing}: give a value from 0 to below 1.")
        if not 0.0 < cfg.intermediate_weight < 1.0:
            raise UsageError(f"--intermediate-weight {cfg.intermediate_weight}: give a value between 0 and 1.")
        if cfg.intermediate_weight != ParallelConfig.intermediate_weight and not cfg.intermediate_layers:
            raise UsageError(
                f"--intermediate-weight {cfg.intermediate_weight}: nothing reads it without --intermediate-layers."
            )
        self.label_smoothing = cfg.label_smoothing
        if len(set(cfg.intermediate_layers)) < len(cfg.intermediate_layers):
            raise UsageError(f"--intermediate-layers {cfg.intermediate_layers}: give each layer once.")
        self.intermediate_layers = tuple(cfg.intermediate_layers)
        self.intermediate_weight = cfg.intermediate_weight
        self._seen = self._reached = 0

    @classmethod
    def build_criterion(cls, cfg: ParallelConfig, task: Any) -> Self:
        """Build from the command line's configuration."""
        return cls(cfg, task)

    def losses(self, logits: Tensor, sample: dict[str, Any], blank: int, padding: Tensor | None) -> SampleLosses:
        """Compute each sample's loss.

        Args:
            logits: (B, N, V + 1).
            sample: the batch (``narvl.data.sample.collate``).
            blank: index of the blank.
            padding: (B, N), True at positions without output, whose logits say the blank; None without any.
        """
        raise TypeError(f"{type(self).__name__} defines no loss")

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute a batch's loss.

        Returns:
            The loss (summed; each sample's with ``reduce=False``), the number of reachable targets, and the log.

        Raises:
            UsageError: the model is autoregressive, or decodes by another alignment than the loss trains, or no target
                seen so far in training is reachable.
        """
        parallel: Any = unwrap(model)
        self._check_model(parallel)
        # What is learned beside the target is not judged: the loss of validation compares trainings with and without.
        below = self.intermediate_layers if model.training else ()
        judged = sample if model.training else {key: value for key, value in sample.items() if key != "references"}
        logits, extra = model(**sample["net_input"], intermediate=below)

        def losses(logits: Tensor) -> SampleLosses:
            if extra["padding"] is not None:
                logits = silence(logits, extra["padding"], parallel.blank)
            return self.losses(logits, judged, parallel.blank, extra["padding"])

        result = losses(logits)
        loss = result.loss
        if below:
            mean = torch.stack([losses(inner).loss for inner in extra["intermediate"]]).mean(0)
            loss = torch.lerp(loss, mean, self.intermediate_weight)
        weight = sample.get("weight")
        loss = loss if weight is None else loss * weight.to(loss)
        # One transfer from the device, which has to compute all of it first, tells whatever the host must know.
        counts = torch.stack([part.sum() for part in (result.reachable, result.references, result.unsaid)])
        told = torch.cat([counts.to(loss), torch.stack([loss.detach().sum(), result.nll.detach().sum()])]).tolist()
        reached = int(told[0])
        if model.training:
            self._require_reachable(result, reached, logits.size(1))
        log = {
            "loss": told[3],
            "nll_loss": told[4],
            "ntokens": sample["ntokens"],
            "nsentences": len(result.loss),
            "sample_size": reached,
            "unreachable": len(result.loss) - reached,
            "references": told[1],
            "unreachable_references": told[2],
        }
        return (loss.sum() if reduce else loss), reached, log

    def _check_model(self, model: Any) -> None:
        name = self.cfg_name()
        if not isinstance(model, NARVLModel):
            raise UsageError(f"--criterion {name} trains the parallel model: give --arch narvl_*.")
        if model.alignment != self.alignment:
            raise UsageError(
                f"--criterion {name} trains queries for --alignment {self.alignment}, but the model decodes by "
                f"--alignment {model.alignment}. Add --alignment {self.alignment}."
            )
        untrained = sorted(model.decoder.self_conditioned - set(self.intermediate_layers))
        if untrained and model.training:
            raise UsageError(
                f"--self-conditioned-layers {untrained[0]}: no loss teaches the layer what to predict. Add it to "
                "--intermediate-layers."
            )
        for layer in self.intermediate_layers:
            last = len(model.decoder.layers)
            if not 1 <= layer < last:
                raise UsageError(
                    f"--intermediate-layers {layer}: the decoder has {last} layers, and the last is trained anyway. "
                    f"Give layers from 1 to {last - 1}."
                )

    def cfg_name(self) -> str:
        """Return the registered name."""
        return "query_ctc" if self.alignment == "ctc" else "query_cross_entropy"

    def _require_reachable(self, result: SampleLosses, reached: int, queries: int) -> None:
        self._seen += len(result.loss)
        self._reached += reached
        if self._reached == 0 and self._seen >= _ENOUGH_TARGETS:
            needed = result.needed[result.needed > 0]
            if not len(needed):
                raise UsageError(f"train.tsv: none of the {self._seen} targets seen so far has a token. See its texts.")
            raise UsageError(
                f"--num-queries {queries}: not one of the {self._seen} targets seen so far can be said; the shortest "
                f"of this batch needs {int(needed.min())} queries. Raise --num-queries or shorten the targets."
            )

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Log means over all workers: losses in bits a target token, and the shares of what cannot be said."""
        total = {
            key: sum(float(log.get(key, 0)) for log in logging_outputs)
            for key in ("loss", "nll_loss", "sample_size", "nsentences", "unreachable")
        }
        references, unsaid = (
            sum(float(log.get(key, 0)) for log in logging_outputs) for key in ("references", "unreachable_references")
        )
        size = total["sample_size"]
        for key in ("loss", "nll_loss"):
            metrics.log_scalar(key, total[key] / max(size, 1.0) / math.log(2), size, round=3)
        sentences = max(total["nsentences"], 1.0)
        metrics.log_scalar("unreachable", total["unreachable"] / sentences, sentences, round=4)
        if references > sentences:  # with one each they are the targets
            metrics.log_scalar("unreachable_references", unsaid / references, references, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Tell fairseq that workers' logs may be summed: every entry is a sum."""
        return True


def mean_over_outputs(values: Tensor, padding: Tensor | None) -> Tensor:
    """Average values of positions (B, N) over those that carry output (B,); ``padding`` as in ``silence``."""
    if padding is None:
        return values.mean(dim=-1)
    return values.masked_fill(padding, 0.0).sum(dim=-1) / (~padding).sum(dim=-1).clamp(min=1)


def silence(logits: Tensor, padding: Tensor, blank: int) -> Tensor:
    """Make padded positions say the blank with certainty, so that they change no collapsed output.

    Args:
        logits: (B, N, V + 1).
        padding: (B, N), True at positions without output.
        blank: index of the blank.
    """
    certain = torch.full_like(logits[:1, :1], -1e4)
    certain[..., blank] = 0.0
    return torch.where(padding.unsqueeze(-1), certain, logits)

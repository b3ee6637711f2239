"""What ``fairseq-generate`` calls for the parallel model: one pass, then the collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from narvl.criterions._parallel import silence
from narvl.decoding.ctc import greedy
from narvl.errors import UsageError
from narvl.models.narvl import NARVLModel


class ParallelGenerator:
    """Decodes a batch by NARVL models in one pass each.

    Args:
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,); the others' probability is given to them, and to the blank, which
            is always allowed. None allows all.
    """

    def __init__(self, dictionary: Dictionary, allowed: Tensor | None = None) -> None:
        self.eos: int = dictionary.eos()
        self.allowed = allowed

    @torch.no_grad()  # not inference_mode: fairseq-generate changes the scores in place
    def generate(
        self,
        models: Sequence[NARVLModel],
        sample: dict[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Decode a batch.

        Args:
            models: one model, or several whose probabilities are averaged.
            sample: the batch.
            prefix_tokens: not supported.
            constraints: not supported.

        Returns:
            For each row, one hypothesis: ``tokens`` (ending in ``</s>``), ``score`` (mean log-probability of the
            tokens), ``positional_scores``, and fairseq's empty ``attention`` and ``alignment``.

        Raises:
            UsageError: a prefix or constraints are given, or the models differ in their alignment or number of queries.
        """
        if prefix_tokens is not None or constraints is not None:
            raise UsageError("--prefix-size, --constraints: a parallel decoder takes neither. Drop them.")
        if len({model.alignment for model in models}) > 1:
            raise UsageError("--path: models of different --alignment cannot be averaged. Give one of them.")
        outputs = [self._log_probs(model, sample["net_input"]) for model in models]
        if len({output.shape for output in outputs}) > 1:
            raise UsageError("--path: models of different --num-queries cannot be averaged. Give one of them.")
        log_probs = average(outputs)
        first = models[0]
        return [
            [self._hypothesis(decoded.tokens, decoded.log_probs)]
            for decoded in greedy(log_probs, first.blank, self.eos, merge=first.alignment == "ctc")
        ]

    def _log_probs(self, model: NARVLModel, net_input: dict[str, Tensor]) -> Tensor:
        logits, extra = model(**net_input)
        if extra["padding"] is not None:
            logits = silence(logits, extra["padding"], model.blank)
        logits = logits.float()
        if self.allowed is not None:
            forbidden = ~self.allowed.to(logits.device)
            logits[..., : len(forbidden)].masked_fill_(forbidden, float("-inf"))
        return torch.log_softmax(logits, dim=-1)

    def _hypothesis(self, tokens: Tensor, log_probs: Tensor) -> dict[str, Any]:
        score = float(log_probs.mean()) if len(log_probs) else 0.0
        return {
            "tokens": torch.cat([tokens, tokens.new_tensor([self.eos])]),
            "score": score,
            "positional_scores": log_probs,
            "attention": None,
            "alignment": torch.empty(0),
        }


def average(log_probs: list[Tensor]) -> Tensor:
    """Average models' probabilities, given and returned as logarithms of one shape."""
    if len(log_probs) == 1:
        return log_probs[0]
    return torch.logsumexp(torch.stack(log_probs), dim=0) - math.log(len(log_probs))

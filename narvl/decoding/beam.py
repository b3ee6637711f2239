"""What ``fairseq-generate`` calls for the autoregressive model: fairseq's beam search, with OFA's start symbol."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from narvl.models.ofa import OFAModel


class SentenceEnsemble(EnsembleModel):
    """Keeps the encoder's output as it is, a row a sentence.

    fairseq repeats it for each hypothesis and reorders it at each step. Our decoder reads it in the first step alone,
    and lets a sentence's hypotheses share what it keeps.
    """

    def reorder_encoder_out(self, encoder_outs: list[Any] | None, new_order: Tensor) -> list[Any] | None:
        """Return the encoders' outputs unchanged."""
        return encoder_outs


class BeamGenerator(SequenceGenerator):
    """fairseq's beam search, from ``<s>``, over the symbols that the task may say (model.md 3).

    Args:
        models: one model, or several to average.
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,); None allows all.
        options: fairseq's own, see ``SequenceGenerator``.
    """

    def __init__(
        self, models: list[OFAModel], dictionary: Dictionary, allowed: Tensor | None = None, **options: Any
    ) -> None:
        super().__init__(SentenceEnsemble(models), dictionary, **options)
        self.bos: int = dictionary.bos()
        if allowed is not None:
            self.token_indices_to_suppress = torch.nonzero(~allowed).squeeze(1)

    def generate(self, models: list[OFAModel], sample: dict[str, Any], **options: Any) -> list[list[dict[str, Any]]]:
        """Decode a batch; see fairseq's ``SequenceGenerator.generate``."""
        return super().generate(models, sample, bos_token=self.bos, **options)

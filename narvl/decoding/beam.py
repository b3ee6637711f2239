"""What ``fairseq-generate`` calls for the autoregressive model: fairseq's beam search, with OFA's start symbol."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from narvl.models.ofa import OFAModel


class SentenceEnsemble(EnsembleModel):
    """One or several models as beam search asks them: encode once a sentence, say only what the task may say.

    Args:
        models: the models; their probabilities are averaged.
        allowed: which symbols the task may say (V,); the others' probability is given to them. None allows all.
    """

    def __init__(self, models: list[OFAModel], allowed: Tensor | None) -> None:
        super().__init__(models)
        self.allowed = allowed

    def reorder_encoder_out(self, encoder_outs: list[Any] | None, new_order: Tensor) -> list[Any] | None:
        """Return the encoders' outputs as they are, a row a sentence.

        fairseq repeats them for each hypothesis and reorders them at each step. Our decoder reads them in the first
        step alone, and lets a sentence's hypotheses share what it keeps of them.
        """
        return encoder_outs

    def forward_decoder(self, *args: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        """Compute the next token's log-probabilities (R, V) over the allowed symbols."""
        log_probs, attention = super().forward_decoder(*args, **options)
        if self.allowed is not None:
            log_probs = log_probs.masked_fill(~self.allowed.to(log_probs.device), float("-inf")).log_softmax(dim=-1)
        return log_probs, attention


class NGramBlock(NGramRepeatBlock):
    """fairseq's n-gram blocking, given the tokens so far.

    fairseq hands it the whole padded buffer, whose last tokens are padding, so that without its CUDA extension
    ``--no-repeat-ngram-size`` blocks nothing.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, use_extension=False)

    def forward(self, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
        """Give -inf to the tokens that would complete an n-gram for the second time."""
        return super().forward(tokens[:, : step + 1], lprobs, bsz, beam_size, step)


class BeamGenerator(SequenceGenerator):
    """fairseq's beam search, from ``<s>``, over the symbols that the task may say (model.md 3).

    Args:
        models: one model, or several to average.
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,); None allows all.
        no_repeat_ngram_size: say no n-gram of this size twice; 0 allows all.
        options: fairseq's own, see ``SequenceGenerator``.
    """

    def __init__(
        self,
        models: list[OFAModel],
        dictionary: Dictionary,
        allowed: Tensor | None = None,
        no_repeat_ngram_size: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(SentenceEnsemble(models, allowed), dictionary, **options)
        self.bos: int = dictionary.bos()
        self.repeat_ngram_blocker = NGramBlock(no_repeat_ngram_size) if no_repeat_ngram_size > 0 else None

    @torch.no_grad()
    def generate(self, models: list[OFAModel], sample: dict[str, Any], **options: Any) -> list[list[dict[str, Any]]]:
        """Decode a batch; see fairseq's ``SequenceGenerator.generate``."""
        return super().generate(models, sample, bos_token=self.bos, **options)

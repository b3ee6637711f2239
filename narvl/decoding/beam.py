"""What ``fairseq-generate`` calls for the autoregressive model: fairseq's beam search, with OFA's start symbol."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from narvl.decoding.candidates import Candidates
from narvl.decoding.ensemble import BrokenOutputs, build_ensemble
from narvl.decoding.ngrams import block_repeats
from narvl.decoding.numbers import no_numbers
from narvl.errors import UsageError
from narvl.models.ofa import OFAModel


class NGramBlock(NGramRepeatBlock):
    """Our n-gram blocking, in the place of fairseq's.

    fairseq hands its own the whole padded buffer, whose last tokens are padding, so that without its CUDA extension
    ``--no-repeat-ngram-size`` blocks nothing; and never does with a size of 1.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, use_extension=False)

    def forward(self, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
        """Give -inf to the tokens that would complete an n-gram for the second time."""
        block_repeats(lprobs, tokens[:, : step + 1], self.no_repeat_ngram_size)
        return lprobs


class BeamGenerator(SequenceGenerator):
    """fairseq's beam search, from ``<s>``, over the symbols or the answers that the task may say.

    Args:
        models: one model, or several to average.
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,); None allows all. Not looked at when there are candidates.
        no_repeat_ngram_size: say no n-gram of this size twice; 0 allows all.
        candidates: the only answers that may be said, by their trie; None leaves the text free. A row then has at most
            as many hypotheses as there are candidates, and the longest candidate decides how many steps are taken
            (``max_len_a`` and ``max_len_b`` are not looked at).
        options: fairseq's own, see ``SequenceGenerator``.

    Raises:
        UsageError: an option that shapes free text is given with candidates.
    """

    def __init__(
        self,
        models: list[OFAModel],
        dictionary: Dictionary,
        allowed: Tensor | None = None,
        no_repeat_ngram_size: int = 0,
        candidates: Candidates | None = None,
        **options: Any,
    ) -> None:
        shaping = {name: options[name] for name in ("min_len", "match_source_len") if name in options}
        ensemble = build_ensemble(models, allowed, candidates, no_repeat_ngram_size, **shaping)
        if candidates is not None:
            options |= {"max_len_a": 0, "max_len_b": candidates.longest}
        super().__init__(ensemble, dictionary, **options)
        self.bos: int = dictionary.bos()
        self.constrained = candidates is not None
        self.repeat_ngram_blocker = NGramBlock(no_repeat_ngram_size) if no_repeat_ngram_size > 0 else None

    @torch.no_grad()
    def generate(self, models: list[OFAModel], sample: dict[str, Any], **options: Any) -> list[list[dict[str, Any]]]:
        """Decode a batch; see fairseq's ``SequenceGenerator.generate``.

        Raises:
            UsageError: a prefix is given with candidates.
            DataError: what the model says of a row is no number.
        """
        if self.constrained and options.get("prefix_tokens") is not None:
            raise UsageError("--prefix-size: candidate answers are said whole or not at all. Drop it.")
        try:
            return super().generate(models, sample, bos_token=self.bos, **options)
        except BrokenOutputs as error:
            raise no_numbers(sample, sorted({row // self.beam_size for row in error.rows})) from None

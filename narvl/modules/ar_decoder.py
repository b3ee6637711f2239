"""The autoregressive decoder: OFA's, the baseline and the teacher."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from narvl.modules.attention import mask_keys
from narvl.modules.decoder import DecoderStack
from narvl.modules.layers import SelfCache

if TYPE_CHECKING:
    from fairseq.data import Dictionary

    from narvl.models._config import OFAConfig
    from narvl.modules.encoder import EncoderOutput
    from narvl.modules.output_vocabulary import OutputVocabulary

_CACHE = "narvl.ar_decoder"
_FIRST_POSITIONS = 32


@dataclass
class DecodingCache:
    """What one step of decoding leaves for the next: nothing of the image or of a position is projected twice.

    Attributes:
        past: keys and values of the decoded positions, a layer each; rows are hypotheses (R).
        cross: keys and values of the encoder's states, a layer each; rows are sentences (R / beam), since all
            hypotheses of a sentence see the same image.
        self_biases: position biases for the first M positions, a layer each, (1, H, M, M).
        cross_bias: (1 or R / beam, H, M, P+S), padding masked.
        padding: the encoder's padding (R / beam, P+S), or None; masks a ``cross_bias`` for more positions.
    """

    past: list[SelfCache]
    cross: list[tuple[Tensor, Tensor]]
    self_biases: list[Tensor]
    cross_bias: Tensor
    padding: Tensor | None


class OFADecoder(FairseqIncrementalDecoder, DecoderStack):
    """Predicts each token from those before it.

    Args:
        cfg: the model's configuration.
        dictionary: the vocabulary (V symbols).
        embed_tokens: the shared token table (V, D); its transpose is the output projection.
    """

    def __init__(self, cfg: OFAConfig, dictionary: Dictionary, embed_tokens: nn.Embedding) -> None:
        super().__init__(dictionary)
        self.build_stack(cfg, embed_tokens)
        self.padding_idx: int = dictionary.pad()

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOutput,
        incremental_state: dict[str, Any] | None = None,
        vocabulary: OutputVocabulary | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Compute logits.

        Args:
            prev_output_tokens: ``<s>`` and the tokens so far (B, T), right-padded. When decoding step by step, rows are
                hypotheses, those of a sentence side by side.
            encoder_out: the encoder's output; rows are sentences.
            incremental_state: fairseq's store between steps; when given, only the last position is computed.
            vocabulary: the K symbols to compute logits for; None takes all V.

        Returns:
            Logits (B, T, K), T = 1 when decoding step by step, and an empty ``extra``.
        """
        if incremental_state is None:
            features = self._teacher_forced(prev_output_tokens, encoder_out)
        else:
            features = self._step(prev_output_tokens, encoder_out, incremental_state)
        table = self.embed_tokens.weight
        logits = F.linear(features, table) if vocabulary is None else vocabulary.logits(features, table)
        return logits, {"attn": [None]}

    def _teacher_forced(self, tokens: Tensor, encoder_out: EncoderOutput) -> Tensor:
        length = tokens.size(1)
        self_biases, cross_bias = self.position_biases(length, encoder_out.positions)
        future = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        padding = tokens.eq(self.padding_idx)
        padded = padding if bool(padding.any()) else None
        self_biases = [mask_keys(bias.masked_fill(future, float("-inf")), padded) for bias in self_biases]
        return self.run_layers(
            self.embed(self.embed_tokens(tokens)),
            self_biases,
            mask_keys(cross_bias, encoder_out.padding),
            self.attended(encoder_out, length),
        )

    def _step(self, tokens: Tensor, encoder_out: EncoderOutput, incremental_state: dict[str, Any]) -> Tensor:
        length = tokens.size(1)
        cache: DecodingCache | None = incremental_state.get(_CACHE)
        if cache is None or cache.cross_bias.size(2) < length:
            positions = max(_FIRST_POSITIONS, 2 * (length - 1))
            self_biases, cross_bias = self.position_biases(
                min(positions, self.max_target_positions), encoder_out.positions
            )
            if cache is None:
                past = [SelfCache() for _ in self.layers]
                cross, padding = self.keys_values(encoder_out), encoder_out.padding
            else:  # sentences may have ended since the first step: their rows are gone
                past, cross, padding = cache.past, cache.cross, cache.padding
            cache = DecodingCache(past, cross, self_biases, mask_keys(cross_bias, padding), padding)
            incremental_state[_CACHE] = cache
        return self.run_layers(
            self.embed(self.embed_tokens(tokens[:, -1:])),
            [bias[:, :, length - 1 : length, :length] for bias in cache.self_biases],
            cache.cross_bias[:, :, length - 1 : length],
            cache.cross,
            cache.past,
        )

    def reorder_incremental_state_scripting(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Keep or repeat the hypotheses ``new_order`` (R',), those of a sentence side by side (fairseq's searches).

        The cache is replaced, not changed: a shallow copy of ``incremental_state`` may go another way from here.
        """
        cache: DecodingCache | None = incremental_state.get(_CACHE)
        if cache is None:
            return
        past = [copy(layer) for layer in cache.past]
        hypotheses = past[0].rows // cache.cross[0][0].size(0)
        for layer in past:
            layer.reorder(new_order)
        cache = incremental_state[_CACHE] = replace(cache, past=past)
        sentences = torch.div(new_order, hypotheses, rounding_mode="floor").unique_consecutive()
        if len(sentences) == cache.cross[0][0].size(0) and bool((sentences[1:] > sentences[:-1]).all()):
            return  # no sentence left
        cache.cross = [(k.index_select(0, sentences), v.index_select(0, sentences)) for k, v in cache.cross]
        if cache.padding is not None:
            cache.padding = cache.padding.index_select(0, sentences)
            cache.cross_bias = cache.cross_bias.index_select(0, sentences)

    def max_positions(self) -> int:
        """Return the longest output, in tokens."""
        return self.max_target_positions

"""The autoregressive decoder: OFA's, the baseline and the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from narvl.modules.attention import mask_keys
from narvl.modules.decoder import DecoderStack
from narvl.modules.layers import Attended
from narvl.modules.self_cache import SelfCache

if TYPE_CHECKING:
    from fairseq.data import Dictionary

    from narvl.models._config import OFAConfig
    from narvl.modules.encoder import EncoderOutput
    from narvl.modules.output_vocabulary import OutputVocabulary

_CACHE = "narvl.ar_decoder"
_FIRST_POSITIONS = 32
# Attending over unprojected states, a position decoded in a step of its own costs about as much as two decoded in one
# pass (measured at base, batches of 1, 8 and 32): each step reads the projections' weights and the states anew.
_STEP_COST = 2


@dataclass
class DecodingCache:
    """What one step of decoding leaves for the next: nothing of the image or of a position is projected twice.

    A cache is replaced, not changed: a shallow copy of fairseq's ``incremental_state`` may go another way.

    Attributes:
        past: keys and values of the decoded positions; rows are hypotheses (R).
        cross: what each layer attends to of the encoder; rows are sentences (R / beam), since all hypotheses of a
            sentence see the same image.
        self_biases: position biases for the first M positions, a layer each, (1, H, M, M).
        cross_bias: (1 or R / beam, H, M, P+S), padding masked.
        padding: the encoder's padding (R / beam, P+S), or None; masks a ``cross_bias`` for more positions.
    """

    past: SelfCache
    cross: Sequence[Attended]
    self_biases: list[Tensor]
    cross_bias: Tensor
    padding: Tensor | None

    @property
    def sentences(self) -> int:
        """Number of sentences whose hypotheses are decoded."""
        first = self.cross[0]
        return len(first) if isinstance(first, Tensor) else len(first[0])

    def reordered(self, order: Tensor, sentences: Tensor | None) -> DecodingCache:
        """Return the cache of the hypotheses ``order`` (R',), which are of ``sentences`` (None: of all, as before)."""
        cache = replace(self, past=self.past.reordered(order))
        if sentences is None:
            return cache
        first = self.cross[0]
        if isinstance(first, Tensor):  # every layer attends to the same states
            cache.cross = [first.index_select(0, sentences)] * len(self.cross)
        else:
            cache.cross = [(k.index_select(0, sentences), v.index_select(0, sentences)) for k, v in self.cross]
        if self.padding is not None:
            cache.padding = self.padding.index_select(0, sentences)
            cache.cross_bias = self.cross_bias.index_select(0, sentences)
        return cache


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

    def begin(
        self, encoder_out: EncoderOutput, incremental_state: dict[str, Any], positions: int, hypotheses: int
    ) -> None:
        """Prepare to decode step by step, for as many steps as are known to be the most.

        Without it the first step prepares for any number.

        Args:
            encoder_out: the encoder's output.
            incremental_state: fairseq's store between steps, empty yet.
            positions: tokens decoded at most, ``<s>`` included.
            hypotheses: decoded side by side for each sentence, at most.
        """
        attended = self.attended(encoder_out, _STEP_COST * positions * hypotheses)
        incremental_state[_CACHE] = self._empty_cache(encoder_out, attended, positions)

    def _empty_cache(self, encoder_out: EncoderOutput, cross: Sequence[Attended], positions: int) -> DecodingCache:
        self_biases, cross_bias = self._biases(encoder_out, encoder_out.padding, positions)
        past = SelfCache(len(self.layers), positions)
        return DecodingCache(past, cross, self_biases, cross_bias, encoder_out.padding)

    def _biases(
        self, encoder_out: EncoderOutput, padding: Tensor | None, positions: int
    ) -> tuple[list[Tensor], Tensor]:
        positions = min(positions, self.max_target_positions)
        self_biases, cross_bias = self.position_biases(positions, encoder_out.positions)
        return self_biases, mask_keys(cross_bias, padding)

    def _step(self, tokens: Tensor, encoder_out: EncoderOutput, incremental_state: dict[str, Any]) -> Tensor:
        length = tokens.size(1)
        cache: DecodingCache | None = incremental_state.get(_CACHE)
        if cache is None:
            cache = self._empty_cache(encoder_out, self.keys_values(encoder_out), _FIRST_POSITIONS)
        elif cache.cross_bias.size(2) < length:
            # Sentences may have ended since the first step: the cache's padding is that of those that are left.
            self_biases, cross_bias = self._biases(encoder_out, cache.padding, 2 * (length - 1))
            cache = replace(cache, self_biases=self_biases, cross_bias=cross_bias)
        cache = incremental_state[_CACHE] = replace(cache, past=cache.past.extended())
        return self.run_layers(
            self.embed(self.embed_tokens(tokens[:, -1:])),
            [bias[:, :, length - 1 : length, :length] for bias in cache.self_biases],
            cache.cross_bias[:, :, length - 1 : length],
            cache.cross,
            cache.past,
        )

    def reorder(self, incremental_state: dict[str, Any], order: Tensor, sentences: Tensor | None = None) -> None:
        """Keep or repeat hypotheses.

        Args:
            incremental_state: fairseq's store between steps.
            order: which hypotheses (R',), those of a sentence side by side.
            sentences: whose they are, where sentences end; None: all sentences go on.
        """
        incremental_state[_CACHE] = incremental_state[_CACHE].reordered(order, sentences)

    def reorder_incremental_state_scripting(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Keep or repeat the hypotheses ``new_order`` (R',), those of a sentence side by side (fairseq's searches)."""
        cache: DecodingCache | None = incremental_state.get(_CACHE)
        if cache is None:
            return
        hypotheses = cache.past.rows // cache.sentences
        sentences = torch.div(new_order, hypotheses, rounding_mode="floor").unique_consecutive()
        all_go_on = len(sentences) == cache.sentences and bool((sentences[1:] > sentences[:-1]).all())
        self.reorder(incremental_state, new_order, None if all_go_on else sentences)

    def max_positions(self) -> int:
        """Return the longest output, in tokens."""
        return self.max_target_positions

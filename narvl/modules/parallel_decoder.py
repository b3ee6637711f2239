"""NARVL's decoder: learnable queries in, all tokens out in one pass (paper, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from fairseq.models import FairseqDecoder
from torch import Tensor, nn

from narvl.errors import UsageError
from narvl.modules.attention import mask_keys
from narvl.modules.decoder import DecoderStack

if TYPE_CHECKING:
    from fairseq.data import Dictionary

    from narvl.models._config import NARVLConfig
    from narvl.modules.encoder import EncoderOutput
    from narvl.modules.output_vocabulary import OutputVocabulary


class NARVLDecoder(FairseqDecoder, DecoderStack):
    """Predicts N tokens or blanks side by side; its weights are the AR decoder's plus queries and a blank.

    The blank is a class of the output alone, never an input token: it has a row of its own, beside the shared token
    table, as the last of V + 1 logits. It therefore trains where the table is frozen (``--freeze-embedding``).

    After the self-conditioned layers the expected embedding of what the layer predicts is added, projected, to what the
    next layer reads: queries learn of each other's words before the last layer chooses, in the same one pass (after
    Nozaki and Komatsu, Interspeech 2021, for CTC over speech, and Huang et al., AAAI 2022, for translation).

    Args:
        cfg: the model's configuration.
        dictionary: the vocabulary without the blank (V symbols).
        embed_tokens: the shared token table (V, D).
    """

    def __init__(self, cfg: NARVLConfig, dictionary: Dictionary, embed_tokens: nn.Embedding) -> None:
        super().__init__(dictionary)
        self.build_stack(cfg, embed_tokens)
        width = cfg.embed_dim
        self.query_embed = nn.Embedding(cfg.num_queries, width) if cfg.decoder_input == "queries" else None
        if self.query_embed is not None:
            nn.init.normal_(self.query_embed.weight, std=0.02)
        self.blank_embed = nn.Embedding(1, width)
        nn.init.normal_(self.blank_embed.weight, std=width**-0.5)
        self.self_conditioned = frozenset(cfg.self_conditioned_layers)
        # It starts from nothing: a model that was trained without goes on as it was.
        self.condition = nn.Linear(width, width) if self.self_conditioned else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)

    def forward(
        self,
        prev_output_tokens: Tensor | None,
        encoder_out: EncoderOutput,
        vocabulary: OutputVocabulary | None = None,
        intermediate: Sequence[int] = (),
    ) -> tuple[Tensor, dict[str, Any]]:
        """Compute logits; they depend on no output token, so ``prev_output_tokens`` is not looked at.

        Args:
            prev_output_tokens: not looked at.
            encoder_out: the encoder's output.
            vocabulary: the K symbols to compute logits for; None takes all V.
            intermediate: layers below the last, counted from 1, whose logits are wanted as well.

        Returns:
            Logits (B, N, K + 1), the blank last, and ``extra``. Its ``padding`` (B, N) is True at positions that carry
            no output, or None: queries are never padded; an encoder sequence as input may be. Its ``intermediate`` has
            the logits after each of those layers (B, N, V + 1).
        """
        predicted: dict[int, Tensor] = {}

        def feed_back(layer: int, x: Tensor) -> Tensor:
            if layer in self.self_conditioned or layer in intermediate:
                predicted[layer] = self._logits(self.layer_norm(x))
            return x + self._expected(predicted[layer]) if layer in self.self_conditioned else x

        x, padding = self._input(encoder_out)
        self_biases, cross_bias = self.position_biases(x.size(1), encoder_out.positions)
        features = self.run_layers(
            x,
            [mask_keys(bias, padding) for bias in self_biases],
            mask_keys(cross_bias, encoder_out.padding),
            self.attended(encoder_out, x.size(1)),
            feed_back=feed_back if self.self_conditioned or intermediate else None,
        )
        below = [predicted[layer] for layer in intermediate]
        return self._logits(features, vocabulary), {"padding": padding, "intermediate": below}

    def _logits(self, features: Tensor, vocabulary: OutputVocabulary | None = None) -> Tensor:
        table, blank = self.embed_tokens.weight, self.blank_embed.weight
        if vocabulary is not None:
            return vocabulary.logits(features, table, blank)
        return torch.cat([F.linear(features, table), F.linear(features, blank)], dim=-1)

    def _expected(self, logits: Tensor) -> Tensor:
        """Project the expected embedding of what a layer predicts (B, N, D)."""
        assert self.condition is not None
        shares = logits.softmax(dim=-1)
        expected = shares[..., :-1] @ self.embed_tokens.weight + shares[..., -1:] * self.blank_embed.weight
        projected: Tensor = self.condition(expected)
        return projected

    def _input(self, encoder_out: EncoderOutput) -> tuple[Tensor, Tensor | None]:
        """Embed what the first layer reads (B, N, D); ``padding`` as in ``forward``."""
        padding = None
        if self.query_embed is not None:
            x = self.query_embed.weight.unsqueeze(0)
        else:
            x, padding = encoder_out.embedded, encoder_out.padding
            if x.size(1) > self.max_target_positions:
                raise UsageError(
                    f"--decoder-input encoder: the input has {x.size(1)} positions, --max-target-positions allows "
                    f"{self.max_target_positions}. Raise it or lower --patch-image-size."
                )
        return self.embed(x.expand(encoder_out.states.size(0), -1, -1)), padding

    def max_positions(self) -> int:
        """Return the longest output, in tokens."""
        return self.max_target_positions

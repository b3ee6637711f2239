"""What the two decoders share: positions, layers, the output projection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from narvl.modules.layers import Attended, DecoderLayer, recomputed
from narvl.modules.positions import (
    TEXT_RELATIVE_ROWS,
    RelativeBias,
    absolute_bias,
    cached_text_buckets,
)
from narvl.modules.self_cache import SelfCache
from narvl.modules.weight_cache import WeightCache

if TYPE_CHECKING:
    from narvl.models._config import OFAConfig
    from narvl.modules.encoder import EncoderOutput

# Position biases kept: they are small, and there is one for each length of the prompt.
_KEPT = 32


class DecoderStack(nn.Module):
    """The decoder's weights and its pass over an embedded sequence, causal or not.

    Mixed into the registered decoders, so that parameter names are those of OFA's checkpoints.
    """

    def build_stack(self, cfg: OFAConfig, embed_tokens: nn.Embedding) -> None:
        """Create the parameters. Called by the decoders' constructors."""
        width, heads = cfg.embed_dim, cfg.attention_heads
        self.heads = heads
        self.checkpoint = cfg.checkpoint_activations
        self.embed_tokens = embed_tokens
        self.max_target_positions = cfg.max_target_positions
        self.layernorm_embedding = nn.LayerNorm(width)
        self.dropout = nn.Dropout(cfg.dropout)
        self.embed_positions = nn.Embedding(cfg.max_target_positions + 2, width)
        self.pos_ln = nn.LayerNorm(width)
        self.self_pos_q_linear = nn.Linear(width, width)
        self.self_pos_k_linear = nn.Linear(width, width)
        self.cross_pos_q_linear = nn.Linear(width, width)
        self.cross_pos_k_linear = nn.Linear(width, width)
        drop_path = np.linspace(0, float(cfg.decoder_drop_path_rate), cfg.decoder_layers).tolist()
        self.layers = nn.ModuleList(
            DecoderLayer(width, cfg.ffn_embed_dim, heads, cfg.dropout, cfg.attention_dropout, rate)
            for rate in drop_path
        )
        self.token_rel_pos_table_list = nn.ModuleList(RelativeBias(TEXT_RELATIVE_ROWS, heads) for _ in self.layers)
        self.layer_norm = nn.LayerNorm(width)
        nn.init.normal_(self.embed_positions.weight, std=0.02)
        self._kept = WeightCache(_KEPT)

    def train(self, mode: bool = True) -> Self:
        """Switch the training mode; position biases are kept while nothing is trained."""
        super().train(mode)
        if mode:
            self._kept.clear()
        return self

    def position_biases(self, length: int, encoder_positions: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute every position bias for ``length`` decoder positions, in evaluation once.

        Args:
            encoder_positions: (P+S, D), from the encoder's output.

        Returns:
            The self-attention bias of each layer (1, H, T, T), and the cross-attention bias that all layers share
            (1, H, T, P+S).
        """
        if self.training or torch.is_grad_enabled():
            return self._position_biases(length, encoder_positions)
        own = (self.embed_positions, self.pos_ln, self.self_pos_q_linear, self.self_pos_k_linear)
        cross = (self.cross_pos_q_linear, self.cross_pos_k_linear)
        parts = (*own, *cross, self.token_rel_pos_table_list)
        weights = [weight for part in parts for weight in part.parameters()]
        return self._kept.get(
            (length, encoder_positions.shape),
            [*weights, encoder_positions],
            lambda: self._position_biases(length, encoder_positions),
        )

    def _position_biases(self, length: int, encoder_positions: Tensor) -> tuple[list[Tensor], Tensor]:
        positions = self.pos_ln(self.embed_positions.weight[:length])
        absolute = absolute_bias(self.self_pos_q_linear(positions), self.self_pos_k_linear(positions), self.heads)
        buckets = cached_text_buckets(length, positions.device)
        self_biases = [(absolute + table(buckets)).unsqueeze(0) for table in self.token_rel_pos_table_list]
        cross = absolute_bias(
            self.cross_pos_q_linear(positions), self.cross_pos_k_linear(encoder_positions), self.heads
        )
        return self_biases, cross.unsqueeze(0)

    def attended(self, encoder_out: EncoderOutput, queries: int) -> Sequence[Attended]:
        """Return what each layer's cross-attention attends to.

        Args:
            encoder_out: the encoder's output.
            queries: how many positions will attend to it, over all passes. For few of them the states are cheaper as
                they are (``Attention.over_states``) than projected to each layer's keys and values.
        """
        width = encoder_out.states.size(-1)
        if queries * self.heads < width:
            return [encoder_out.states] * len(self.layers)
        return self.keys_values(encoder_out)

    def keys_values(self, encoder_out: EncoderOutput) -> list[tuple[Tensor, Tensor]]:
        """Project the encoder's states for each layer's cross-attention."""
        return [cast(DecoderLayer, layer).encoder_attn.keys_values(encoder_out.states) for layer in self.layers]

    def run_layers(
        self,
        x: Tensor,
        self_biases: list[Tensor],
        cross_bias: Tensor,
        cross: Sequence[Attended],
        past: SelfCache | None = None,
        feed_back: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Run all layers and the last LayerNorm over an embedded sequence (B, T, D).

        Args:
            x: the sequence.
            self_biases: of each layer, see ``position_biases``.
            cross_bias: of all layers.
            cross: what each layer attends to of the encoder.
            past: what the layers keep of earlier positions.
            feed_back: is given each layer's number, from 1, and what it leaves (B, T, D); returns what the next reads.
        """
        for index, layer in enumerate(self.layers):
            arguments = (x, self_biases[index], cross[index], cross_bias, None if past is None else past[index])
            x = recomputed(layer, *arguments) if self.checkpoint and self.training else layer(*arguments)
            if feed_back is not None:
                x = feed_back(index + 1, x)
        return self.layer_norm(x)

    def embed(self, x: Tensor) -> Tensor:
        """Normalise a decoder input (B, T, D): tokens and queries alike."""
        return self.dropout(self.layernorm_embedding(x))

"""The encoder: an image's patches, then the prompt's tokens, through one Transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from narvl.errors import UsageError
from narvl.modules.attention import mask_keys, padded_runs
from narvl.modules.backbone import STRIDE, Backbone, flatten_map
from narvl.modules.layers import EncoderLayer, recomputed
from narvl.modules.packed import pack_linears
from narvl.modules.positions import (
    BASE_GRID,
    GRID,
    IMAGE_POSITIONS,
    IMAGE_RELATIVE_ROWS,
    TEXT_RELATIVE_ROWS,
    RelativeBias,
    absolute_bias,
    cached_image_buckets,
    cached_text_buckets,
    image_positions,
    interpolate_grid,
)
from narvl.modules.weight_cache import WeightCache

if TYPE_CHECKING:
    from fairseq.data import Dictionary

    from narvl.models._config import OFAConfig

# Position biases are kept for prompts of up to a multiple of this many tokens.
_TEXT_STEP = 32


class EncoderOutput(NamedTuple):
    """What the decoders need; a tuple, so that tools which look into a module's output (fairseq's NanDetector) can.

    Attributes:
        states: (B, P+S, D), after the last LayerNorm.
        padding: (B, P+S), True at padding; None when nothing is padded.
        positions: normalised position embeddings (P+S, D), the same for each sample.
        embedded: the embedded input sequence (B, P+S, D), before the first layer.
    """

    states: Tensor
    padding: Tensor | None
    positions: Tensor
    embedded: Tensor

    def select(self, order: Tensor) -> EncoderOutput:
        """Keep the batch rows ``order``."""
        return self._replace(
            states=self.states.index_select(0, order),
            padding=None if self.padding is None else self.padding.index_select(0, order),
            embedded=self.embedded.index_select(0, order),
        )


class OFAEncoder(FairseqEncoder):
    """OFA's encoder.

    Args:
        cfg: the model's configuration.
        dictionary: the vocabulary without the blank.
        embed_tokens: the token table (V, D) that encoder, decoder and output share.
    """

    def __init__(self, cfg: OFAConfig, dictionary: Dictionary, embed_tokens: nn.Embedding) -> None:
        super().__init__(dictionary)
        width, heads = cfg.embed_dim, cfg.attention_heads
        self.heads = heads
        self.checkpoint = cfg.checkpoint_activations
        self.interpolate_position = cfg.interpolate_position
        self.embed_tokens = embed_tokens
        self.padding_idx: int = dictionary.pad()
        self.max_source_positions = cfg.max_source_positions

        self.embed_images = Backbone(
            cfg.resnet_blocks,
            cfg.resnet_width,
            str(cfg.resnet_block),
            float(cfg.resnet_drop_path_rate),
            cfg.batch_norm,
            cfg.freeze_resnet,
        )
        self.image_proj = nn.Linear(self.embed_images.out_channels, width)
        self.type_embedding = nn.Embedding(2, width)
        self.layernorm_embedding = nn.LayerNorm(width)
        self.patch_layernorm_embedding = nn.LayerNorm(width)
        self.dropout = nn.Dropout(cfg.dropout)

        self.embed_positions = nn.Embedding(cfg.max_source_positions + 2, width)
        self.embed_image_positions = nn.Embedding(IMAGE_POSITIONS, width)
        self.pos_ln = nn.LayerNorm(width)
        self.image_pos_ln = nn.LayerNorm(width)
        self.pos_q_linear = nn.Linear(width, width)
        self.pos_k_linear = nn.Linear(width, width)

        drop_path = np.linspace(0, float(cfg.encoder_drop_path_rate), cfg.encoder_layers).tolist()
        self.layers = nn.ModuleList(
            EncoderLayer(width, cfg.ffn_embed_dim, heads, cfg.dropout, cfg.attention_dropout, rate)
            for rate in drop_path
        )
        self.token_rel_pos_table_list = nn.ModuleList(RelativeBias(TEXT_RELATIVE_ROWS, heads) for _ in self.layers)
        self.image_rel_pos_table_list = nn.ModuleList(RelativeBias(IMAGE_RELATIVE_ROWS, heads) for _ in self.layers)
        self.layer_norm = nn.LayerNorm(width)
        self._kept = WeightCache()

        for embedding in (self.type_embedding, self.embed_positions, self.embed_image_positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        patch_images: Tensor | None = None,
        patch_masks: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode a batch.

        Args:
            src_tokens: prompt tokens (B, S), right-padded.
            src_lengths: unused (padding is found in ``src_tokens``); part of fairseq's signature.
            patch_images: images (B, 3, height, width), values in [-1, 1].
            patch_masks: (B,), False where the image is to be ignored; None keeps all.

        Raises:
            UsageError: the image or the prompt is larger than the position tables.
        """
        assert patch_images is not None
        # The forward pass's one wait for the device, while that has nothing to do yet.
        unseen = torch.zeros_like(src_tokens[:, 0]) if patch_masks is None else 1 - patch_masks.long()
        said, hidden = torch.stack([src_tokens.ne(self.padding_idx).sum(dim=1), unseen]).tolist()
        # fairseq-generate --fp16 halves the model, but not what it is fed.
        features = self.embed_images(patch_images.to(self.embed_tokens.weight.dtype))
        height, width = features.shape[-2:]
        patches, length = height * width, src_tokens.size(1)
        self._check_size(height, width, length)

        text = self.embed_tokens(src_tokens) + self.type_embedding.weight[0]
        patch = self.image_proj(flatten_map(features)) + self.type_embedding.weight[1]
        x = torch.cat(
            [self.dropout(self.patch_layernorm_embedding(patch)), self.dropout(self.layernorm_embedding(text))], dim=1
        )
        padding, runs = None, None
        if min(said) < length or any(hidden):
            image = unseen.bool().unsqueeze(1).expand(-1, patches)
            padding = torch.cat([image, src_tokens.eq(self.padding_idx)], dim=1)
            x = x.masked_fill(padding.unsqueeze(-1), 0.0)
            if not any(hidden):
                runs = padded_runs([patches + tokens for tokens in said])
        embedded = x

        positions, bias_of = self._position_biases(height, width, length)

        def run_layer(index: int, x: Tensor) -> Tensor:
            bias = bias_of(index)
            result: Tensor = self.layers[index](x, bias if runs else mask_keys(bias, padding), runs)
            return result

        for index in range(len(self.layers)):
            x = recomputed(run_layer, index, x) if self.checkpoint and self.training else run_layer(index, x)
        return EncoderOutput(self.layer_norm(x), padding, positions, embedded)

    def make_generation_fast_(self, **unused: Any) -> None:
        """Lay the weights out for a CPU that only answers (fairseq's hook)."""
        pack_linears(self, "image_proj")

    def forward_torchscript(self, net_input: dict[str, Tensor]) -> EncoderOutput:
        """Encode a batch's ``net_input`` (fairseq's beam search calls this)."""
        return self(**{name: value for name, value in net_input.items() if name != "prev_output_tokens"})

    def reorder_encoder_out(self, encoder_out: EncoderOutput, new_order: Tensor) -> EncoderOutput:
        """Keep the batch rows ``new_order`` (beam search)."""
        return encoder_out.select(new_order)

    def max_positions(self) -> int:
        """Return the longest prompt, in tokens."""
        return self.max_source_positions

    def train(self, mode: bool = True) -> OFAEncoder:
        """Switch the training mode; position biases are kept while nothing is trained."""
        super().train(mode)
        if mode:
            self._kept.clear()
        return self

    def _position_biases(self, height: int, width: int, length: int) -> tuple[Tensor, Callable[[int], Tensor]]:
        """Compute the positions (P+S, D), and what gives a layer's self-attention bias (1, H, P+S, P+S).

        In evaluation they are computed once for each size of the patch grid, for prompts of any length up to a bound,
        and anew for a higher one where a prompt is longer. In training each layer's is made when its turn comes.
        """
        if self.training or torch.is_grad_enabled():
            positions = self._positions(height, width, length)
            absolute = self._absolute_bias(positions)
            return positions, lambda index: self._layer_bias(index, absolute, height, width)
        room = min(-(-length // _TEXT_STEP) * _TEXT_STEP, self.max_source_positions)

        def compute() -> tuple[Tensor, list[Tensor]]:
            positions = self._positions(height, width, room)
            absolute = self._absolute_bias(positions)
            return positions, [self._layer_bias(index, absolute, height, width) for index in range(len(self.layers))]

        end = height * width + length
        positions, biases = self._kept.get(
            (height, width, self.interpolate_position),
            self._position_weights(),
            compute,
            enough=lambda kept: len(kept[0]) >= end,
        )
        return positions[:end], lambda index: biases[index][:, :, :end, :end]

    def _position_weights(self) -> list[Tensor]:
        tables = (self.embed_positions, self.embed_image_positions, self.pos_ln, self.image_pos_ln)
        linears = (self.pos_q_linear, self.pos_k_linear)
        relative = (self.token_rel_pos_table_list, self.image_rel_pos_table_list)
        return [weight for part in (*tables, *linears, *relative) for weight in part.parameters()]

    def _absolute_bias(self, positions: Tensor) -> Tensor:
        return absolute_bias(self.pos_q_linear(positions), self.pos_k_linear(positions), self.heads)

    def _layer_bias(self, index: int, absolute: Tensor, height: int, width: int) -> Tensor:
        patches = height * width
        image_buckets = cached_image_buckets(height, width, absolute.device)
        text_buckets = cached_text_buckets(absolute.size(-1) - patches, absolute.device)
        bias = absolute.clone()
        bias[:, :patches, :patches] += self.image_rel_pos_table_list[index](image_buckets)
        bias[:, patches:, patches:] += self.token_rel_pos_table_list[index](text_buckets)
        return bias.unsqueeze(0)

    def _positions(self, height: int, width: int, length: int) -> Tensor:
        if self.interpolate_position and height * width > BASE_GRID**2:
            image = interpolate_grid(self.embed_image_positions.weight, height, width)
        else:
            image = self.embed_image_positions(image_positions(height, width, self.embed_image_positions.weight.device))
        return torch.cat([self.image_pos_ln(image), self.pos_ln(self.embed_positions.weight[:length])])

    def _check_size(self, height: int, width: int, length: int) -> None:
        if max(height, width) > GRID:
            raise UsageError(
                f"--patch-image-size: {width * STRIDE} x {height * STRIDE} px makes {width} x {height} patches; "
                f"the position tables end at {GRID} x {GRID}. Give at most {GRID * STRIDE}."
            )
        if length > self.max_source_positions:
            raise UsageError(
                f"--max-source-positions: a prompt has {length} tokens, the table ends at "
                f"{self.max_source_positions}. Shorten the prompt or raise the flag."
            )

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> dict[str, Any]:
        """Leave the state dict alone: the model's key table does the whole upgrade."""
        return state_dict

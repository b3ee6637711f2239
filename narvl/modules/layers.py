"""Transformer layers as OFA normalises them: before each part, after attention, inside the FFN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from narvl.modules.attention import Attention, Run
from narvl.modules.packed import pack_linears
from narvl.modules.self_cache import LayerCache

#: What a decoder layer attends to of the encoder: keys and values (B, H, P+S, D/H), or unprojected states (B, P+S, D).
Attended: TypeAlias = tuple[Tensor, Tensor] | Tensor


class FeedForward(nn.Module):
    """The FFN block: x + drop(fc2(LN(gelu(fc1(LN(x)))))). Mixed into the layers so that parameter names stay flat."""

    def __init__(self, width: int, ffn_width: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, ffn_width)
        self.activation: nn.Module = nn.GELU()
        self.ffn_layernorm = nn.LayerNorm(ffn_width)
        self.fc2 = nn.Linear(ffn_width, width)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)
        for linear in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def make_generation_fast_(self, **unused: Any) -> None:
        """Lay the weights out for a CPU that only answers (fairseq's hook)."""
        pack_linears(self, "fc2")
        if pack_linears(self, "fc1", activation="gelu"):
            self.activation = nn.Identity()

    def feed_forward(self, x: Tensor) -> Tensor:
        """Apply the block with its residual connection, (B, T, D) to (B, T, D)."""
        y = self.fc2(self.ffn_layernorm(self.activation(self.fc1(self.final_layer_norm(x)))))
        return x + self.drop_path(self.dropout(y))


class EncoderLayer(FeedForward):
    """Self-attention, then FFN.

    Args:
        width: D.
        ffn_width: inner width of the FFN (4D).
        heads: H.
        dropout: dropout of each part's output.
        attention_dropout: dropout of the attention weights.
        drop_path: probability that a sample skips a part (stochastic depth).
    """

    def __init__(
        self, width: int, ffn_width: int, heads: int, dropout: float, attention_dropout: float, drop_path: float
    ) -> None:
        super().__init__(width, ffn_width, dropout, drop_path)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = Attention(width, heads, attention_dropout)
        self.attn_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor, runs: Sequence[Run] | None = None) -> Tensor:
        """Apply the layer to (B, P+S, D); ``bias`` is (1 or B, H, P+S, P+S), ``runs`` as in ``Attention.forward``."""
        y = self.self_attn_layer_norm(x)
        y = self.attn_ln(self.self_attn(*self.self_attn.queries_keys_values(y), bias, runs))
        return self.feed_forward(x + self.drop_path(self.dropout(y)))


class DecoderLayer(FeedForward):
    """Self-attention, cross-attention, FFN; the arguments are those of ``EncoderLayer``."""

    def __init__(
        self, width: int, ffn_width: int, heads: int, dropout: float, attention_dropout: float, drop_path: float
    ) -> None:
        super().__init__(width, ffn_width, dropout, drop_path)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = Attention(width, heads, attention_dropout)
        self.self_attn_ln = nn.LayerNorm(width)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width, heads, attention_dropout)
        self.cross_attn_ln = nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        self_bias: Tensor,
        cross: Attended,
        cross_bias: Tensor,
        past: LayerCache | None = None,
    ) -> Tensor:
        """Apply the layer.

        Args:
            x: (B, T, D).
            self_bias: (1 or B, H, T, T'), T' counting the cached positions too.
            cross: what is attended to of the encoder; B rows, or B / beam when T = 1.
            cross_bias: (1 or B, H, T, P+S).
            past: keys and values of earlier positions, extended in place by these.
        """
        y = self.self_attn_layer_norm(x)
        queries, keys, values = self.self_attn.queries_keys_values(y)
        if past is not None:
            keys, values = past.append(keys, values)
        y = self.self_attn_ln(self.self_attn(queries, keys, values, self_bias))
        x = x + self.drop_path(self.dropout(y))
        y = self.cross_attn_ln(self._attend_encoder(self.encoder_attn_layer_norm(x), cross, cross_bias))
        x = x + self.drop_path(self.dropout(y))
        return self.feed_forward(x)

    def _attend_encoder(self, y: Tensor, cross: Attended, bias: Tensor) -> Tensor:
        # While decoding by beam search (T = 1), a sentence's hypotheses share its keys and values: they attend side by
        # side, as positions of one row.
        sentences = len(cross) if isinstance(cross, Tensor) else len(cross[0])
        side_by_side = y.view(sentences, -1, y.size(-1))
        if isinstance(cross, Tensor):
            return self.encoder_attn.over_states(side_by_side, cross, bias).view_as(y)
        return self.encoder_attn(self.encoder_attn.queries(side_by_side), *cross, bias).view_as(y)


def recomputed(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Call a function whose activations the backward pass computes anew, instead of keeping them."""
    result: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return result

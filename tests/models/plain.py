"""The model spelt out as its description says it: slow, in plain operations, for comparison with the fast one.

Weights are read from a state dict by their names in OFA's checkpoints. Nothing is kept from call to call, nothing
fused, folded, packed or left out; dropout is not there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


class Encoded(NamedTuple):
    """States (B, L, D), padding (B, L), normalised positions (L, D), embedded input (B, L, D)."""

    states: Tensor
    padding: Tensor
    positions: Tensor
    embedded: Tensor


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])


def count(state: State, prefix: str) -> int:
    """Number of entries of a list of modules."""
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in state if name.startswith(prefix))


def resnet(state: State, images: Tensor) -> Tensor:
    """Stem and three stages of blocks; the first block of stages 2 and 3 halves the map."""
    root = "encoder.embed_images"
    x = F.conv2d(images, state[f"{root}.conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(batch_norm(state, f"{root}.bn1", x).relu(), kernel_size=3, stride=2, padding=1)
    for stage in (1, 2, 3):
        for index in range(count(state, f"{root}.layer{stage}.")):
            block = f"{root}.layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            shortcut = x
            if f"{block}.downsample.0.weight" in state:
                shortcut = F.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
                shortcut = batch_norm(state, f"{block}.downsample.1", shortcut)
            bottleneck = f"{block}.conv3.weight" in state
            parts = 3 if bottleneck else 2
            for part in range(1, parts + 1):
                kernel = state[f"{block}.conv{part}.weight"]
                here = stride if part == (2 if bottleneck else 1) else 1
                x = batch_norm(
                    state, f"{block}.bn{part}", F.conv2d(x, kernel, stride=here, padding=kernel.size(-1) // 2)
                )
                if part < parts:
                    x = x.relu()
            x = (x + shortcut).relu()
    return x


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def scale(width: int, heads: int) -> float:
    return (2 * width / heads) ** -0.5


def attention(state: State, name: str, x: Tensor, other: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Attend from x (B, T, D) to other (B, L, D) under an additive bias (B, H, T, L)."""
    query = split_heads(linear(state, f"{name}.q_proj", x) * scale(x.size(-1), heads), heads)
    key = split_heads(linear(state, f"{name}.k_proj", other), heads)
    value = split_heads(linear(state, f"{name}.v_proj", other), heads)
    weights = (query @ key.transpose(-1, -2) + bias).softmax(dim=-1)
    context = weights @ value * state[f"{name}.c_attn"].view(-1, 1, 1)
    return linear(state, f"{name}.out_proj", context.transpose(1, 2).flatten(2))


def feed_forward(state: State, layer: str, x: Tensor) -> Tensor:
    hidden = F.gelu(linear(state, f"{layer}.fc1", layer_norm(state, f"{layer}.final_layer_norm", x)))
    return x + linear(state, f"{layer}.fc2", layer_norm(state, f"{layer}.ffn_layernorm", hidden))


def pair_bias(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Scores of every pair of positions, (H, T, L)."""
    return split_heads(query * scale(query.size(-1), heads), heads) @ split_heads(key, heads).transpose(-1, -2)


def text_bucket(offset: int) -> int:
    middle = 128
    distance = max(abs(offset), middle - 1)
    if distance <= middle:
        return offset + 255
    far = middle + math.ceil(math.log(distance / middle) / math.log(1023 / middle) * (middle - 1))
    return (far if offset > 0 else -far) + 255


def text_relative(table: Tensor, length: int) -> Tensor:
    buckets = [[text_bucket(i - j) for j in range(length)] for i in range(length)]
    return table[torch.tensor(buckets)].permute(2, 0, 1)


def image_relative(table: Tensor, height: int, width: int) -> Tensor:
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1).view(-1, 2)
    offset = place[:, None] - place[None, :] + 41
    return table[offset[..., 0] * 83 + offset[..., 1]].permute(2, 0, 1)


def forbid(bias: Tensor, padding: Tensor) -> Tensor:
    """Give each sample its own bias (B, H, T, L), -inf at padded keys."""
    return bias.unsqueeze(0).masked_fill(padding[:, None, None, :], -math.inf)


def encode(
    state: State, heads: int, tokens: Tensor, images: Tensor, shown: Tensor | None = None, padding_id: int = 1
) -> Encoded:
    """Encode images (B, 3, height, width) and prompts (B, S); ``shown`` (B,) is False where an image is ignored."""
    features = resnet(state, images)
    height, width = features.shape[-2:]
    patches, length = height * width, tokens.size(1)
    types = state["encoder.type_embedding.weight"]
    image = linear(state, "encoder.image_proj", features.flatten(2).transpose(1, 2)) + types[1]
    text = state["encoder.embed_tokens.weight"][tokens] + types[0]
    x = torch.cat(
        [
            layer_norm(state, "encoder.patch_layernorm_embedding", image),
            layer_norm(state, "encoder.layernorm_embedding", text),
        ],
        dim=1,
    )
    hidden = torch.zeros(len(tokens), dtype=torch.bool) if shown is None else ~shown
    padding = torch.cat([hidden[:, None].expand(-1, patches), tokens.eq(padding_id)], dim=1)
    x = embedded = x.masked_fill(padding.unsqueeze(-1), 0.0)

    rows = torch.tensor([row * 42 + column + 1 for row in range(height) for column in range(width)])
    positions = torch.cat(
        [
            layer_norm(state, "encoder.image_pos_ln", state["encoder.embed_image_positions.weight"][rows]),
            layer_norm(state, "encoder.pos_ln", state["encoder.embed_positions.weight"][:length]),
        ]
    )
    absolute = pair_bias(
        linear(state, "encoder.pos_q_linear", positions), linear(state, "encoder.pos_k_linear", positions), heads
    )
    for index in range(count(state, "encoder.layers.")):
        relative = torch.zeros_like(absolute)
        image_table = state[f"encoder.image_rel_pos_table_list.{index}.weight"]
        relative[:, :patches, :patches] = image_relative(image_table, height, width)
        text_table = state[f"encoder.token_rel_pos_table_list.{index}.weight"]
        relative[:, patches:, patches:] = text_relative(text_table, length)
        layer = f"encoder.layers.{index}"
        y = layer_norm(state, f"{layer}.self_attn_layer_norm", x)
        y = attention(state, f"{layer}.self_attn", y, y, forbid(absolute + relative, padding), heads)
        x = feed_forward(state, layer, x + layer_norm(state, f"{layer}.attn_ln", y))
    return Encoded(layer_norm(state, "encoder.layer_norm", x), padding, positions, embedded)


def decode(
    state: State, heads: int, x: Tensor, encoded: Encoded, causal: bool, padding: Tensor | None = None
) -> Tensor:
    """Run the decoder over an input (B, T, D): token embeddings, queries, or the encoder's input."""
    length = x.size(1)
    x = layer_norm(state, "decoder.layernorm_embedding", x)
    positions = layer_norm(state, "decoder.pos_ln", state["decoder.embed_positions.weight"][:length])
    absolute = pair_bias(
        linear(state, "decoder.self_pos_q_linear", positions),
        linear(state, "decoder.self_pos_k_linear", positions),
        heads,
    )
    if causal:
        absolute = absolute + torch.full((length, length), -math.inf).triu(1)
    cross_bias = pair_bias(
        linear(state, "decoder.cross_pos_q_linear", positions),
        linear(state, "decoder.cross_pos_k_linear", encoded.positions),
        heads,
    )
    padding = torch.zeros(x.shape[:2], dtype=torch.bool) if padding is None else padding
    for index in range(count(state, "decoder.layers.")):
        layer = f"decoder.layers.{index}"
        bias = absolute + text_relative(state[f"decoder.token_rel_pos_table_list.{index}.weight"], length)
        y = layer_norm(state, f"{layer}.self_attn_layer_norm", x)
        y = attention(state, f"{layer}.self_attn", y, y, forbid(bias, padding), heads)
        x = x + layer_norm(state, f"{layer}.self_attn_ln", y)
        y = layer_norm(state, f"{layer}.encoder_attn_layer_norm", x)
        y = attention(state, f"{layer}.encoder_attn", y, encoded.states, forbid(cross_bias, encoded.padding), heads)
        x = feed_forward(state, layer, x + layer_norm(state, f"{layer}.cross_attn_ln", y))
    return layer_norm(state, "decoder.layer_norm", x)


def parallel_logits(state: State, heads: int, encoded: Encoded) -> Tensor:
    """NARVL's logits (B, N, V + 1), the blank last."""
    queries = state.get("decoder.query_embed.weight")
    if queries is None:
        features = decode(state, heads, encoded.embedded, encoded, causal=False, padding=encoded.padding)
    else:
        features = decode(state, heads, queries.expand(len(encoded.states), -1, -1), encoded, causal=False)
    table = torch.cat([state["encoder.embed_tokens.weight"], state["decoder.blank_embed.weight"]])
    return features @ table.T


def teacher_forced_logits(state: State, heads: int, encoded: Encoded, tokens: Tensor) -> Tensor:
    """OFA's logits (B, T, V)."""
    table = state["encoder.embed_tokens.weight"]
    return decode(state, heads, table[tokens], encoded, causal=True) @ table.T

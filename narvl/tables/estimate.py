"""Estimates what a training takes, from its recipe's flags: time, and memory of a GPU."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from narvl.models._config import PRESETS
from narvl.modules.backbone import BLOCKS, STRIDE
from narvl.tables.job import Job
from narvl.tables.recipes import training_flags
from narvl.tables.scales import Scale

#: Operations a second that a training reaches. Of one CPU core: the operations of the scenes' trainings that ended in
#: one attempt, 63 of all tables, over the seconds in their job.json; two at a time on the two cores of an AMD EPYC that
#: other work kept partly busy, which made single ones 4 times as slow or up to twice as fast. Of an A100: its
#: half-precision peak of 312e12 and a utilisation of 30%, an assumption.
CPU_RATE, GPU_RATE = 30e9, 0.3 * 312e12

# Captions of an image, which grouping joins.
_CAPTIONS = 5
# Tokens of a typical prompt, and of an autoregressive model's answer.
_PROMPT = 20
# Bytes a weight under fp16 Adam: weight and gradient in half, and in single precision a copy and two moments.
_BYTES_A_WEIGHT = 16
# Bytes that the backward pass keeps of a Transformer layer, a token and unit of width (Korthikanti et al. 2022, eq. 1).
_BYTES_A_TOKEN = 34
# A convolution, its norm and its activation each keep their output, in half precision.
_BYTES_A_PIXEL = 6
_SIZES = ("embed_dim", "ffn_embed_dim", "encoder_layers", "decoder_layers", "attention_heads")


@dataclass(frozen=True)
class Cost:
    """What a training takes.

    Attributes:
        samples: that pass through the model, all epochs.
        flops: operations of a sample, forward and backward.
        memory: bytes on one GPU.
    """

    samples: int
    flops: float
    memory: float

    def hours(self, rate: float) -> float:
        """Return the hours at so many operations a second."""
        return self.samples * self.flops / rate / 3600


def training_cost(job: Job, scale: Scale) -> Cost | None:
    """Estimate a training; None for other jobs.

    Args:
        job: of ``narvl.tables.runs``.
        scale: that it is of.
    """
    if job.kind != "train":
        return None
    _, recipe, data, _, *flags = job.commands[0]
    given = _parse([*training_flags(recipe), *flags])
    family, _, size = given.arch.partition("_")
    shape = {**PRESETS[size], **{name: value for name in _SIZES if (value := getattr(given, name)) is not None}}
    if given.max_update:
        samples = given.max_update * given.batch_size
    else:
        rows = scale.training_rows[job.name.partition("/")[0]]
        samples = given.max_epoch * (rows // _CAPTIONS if data.endswith("-grouped") else rows)
    answer = given.num_queries if family == "narvl" else _PROMPT
    patches = (given.patch_image_size // STRIDE) ** 2
    convolutions, pixels = backbone_cost(shape, given.patch_image_size)
    source = patches + _PROMPT
    target = source if given.decoder_input == "encoder" else answer
    heads = 1 + len(given.intermediate_layers)
    products = heads + len(given.self_conditioned_layers)
    transformer, weights = transformer_cost(shape, source, target, products * scale.vocabulary)
    width, layers = shape["embed_dim"], shape["encoder_layers"]
    kept = _BYTES_A_PIXEL * pixels + _BYTES_A_TOKEN * width * (layers * source + 2 * shape["decoder_layers"] * target)
    kept += 4 * layers * shape["attention_heads"] * source**2 / max(1, given.batch_size)  # biases, which a batch shares
    logits = target * scale.vocabulary * (2 * heads if family == "narvl" else 10)
    memory = _BYTES_A_WEIGHT * (weights + scale.vocabulary * width) + given.batch_size * (kept + logits)
    return Cost(samples, 3 * (convolutions + transformer), memory)


def backbone_cost(shape: Mapping[str, Any], side: int) -> tuple[float, float]:
    """Return the operations of the image backbone for one image, and the values that its convolutions put out."""
    width = shape.get("resnet_width", 64)
    bottleneck = shape.get("resnet_block", "bottleneck") == "bottleneck"
    pixels = (side / 2) ** 2
    flops, outputs = 2 * 49 * 3 * width * pixels, width * pixels
    channels, pixels = width, pixels / 4

    def convolve(taps: int, inputs: int, out: int, at: float) -> None:
        nonlocal flops, outputs
        flops += 2 * taps * inputs * out * at
        outputs += out * at

    for stage, blocks in enumerate(shape["resnet_blocks"]):
        inner = width * 2**stage
        out = inner * BLOCKS["bottleneck" if bottleneck else "basic"].expansion
        for block in range(blocks):
            before, pixels = pixels, pixels / 4 if stage and not block else pixels
            if bottleneck:
                convolve(1, channels, inner, before)
                convolve(9, inner, inner, pixels)
                convolve(1, inner, out, pixels)
            else:
                convolve(9, channels, inner, pixels)
                convolve(9, inner, inner, pixels)
            if channels != out or before != pixels:
                convolve(1, channels, out, pixels)
            channels = out
    return flops, outputs


def transformer_cost(shape: Mapping[str, Any], source: int, target: int, vocabulary: int) -> tuple[float, float]:
    """Return the operations of encoder, decoder and output layer for one sample, and the layers' weights."""
    width, inner = shape["embed_dim"], shape["ffn_embed_dim"]
    encoder, decoder = shape["encoder_layers"], shape["decoder_layers"]
    square, feed_forward = width * width, 2 * width * inner
    encoding = (4 * square + feed_forward) * source + 2 * source**2 * width
    decoding = (6 * square + feed_forward) * target + 2 * square * source + 2 * target * (target + source) * width
    weights = encoder * (4 * square + feed_forward) + decoder * (8 * square + feed_forward)
    return 2 * (encoder * encoding + decoder * decoding + target * width * vocabulary), weights


def _parse(flags: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--arch")
    parser.add_argument("--decoder-input", default="queries")
    parser.add_argument("--num-queries", type=int, default=0)
    for name in ("intermediate-layers", "self-conditioned-layers"):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=[])
    for name in ("max-update", "max-epoch", "batch-size", "patch-image-size"):
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in _SIZES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    return parser.parse_known_args(list(flags))[0]

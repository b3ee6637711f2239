"""The numbers that a model computes with when it only answers."""

from __future__ import annotations

import re
import warnings

import torch
from torch import nn

from narvl.errors import UsageError

#: What ``--inference-precision`` offers.
PRECISIONS = ("float32", "bfloat16", "float16", "int8")

# The layers' products, but for the keys' and values' of cross-attention: few queries read those weights as they are.
_QUANTISED = re.compile(r"(en|de)coder\.layers\.\d+\.(self_attn\.\w+|encoder_attn\.(q|out)_proj|fc1|fc2)")


def set_precision(model: nn.Module, precision: str) -> None:
    """Give a model, in place, the precision in which it answers.

    Half precisions hold for weights and activations alike. ``int8`` holds for the layers' linear products: weights are
    rounded once, activations at each product by their own range (torch's dynamic quantisation); the rest stays float32.

    Args:
        model: in float32, on the device where it answers.
        precision: one of ``PRECISIONS``; float32 changes nothing.

    Raises:
        UsageError: the model is not in float32, or int8 is asked for on a GPU.
    """
    if precision == "float32":
        return
    weight = next(model.parameters())
    if weight.dtype != torch.float32:
        raise UsageError(f"--inference-precision {precision}: the model is in {weight.dtype} already. Drop --fp16.")
    if precision != "int8":
        model.to(getattr(torch, precision))
        return
    if weight.device.type != "cpu":
        raise UsageError("--inference-precision int8: is for CPUs. Give bfloat16 or float16, or add --cpu.")
    from torch.ao import quantization

    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and _QUANTISED.fullmatch(name)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that this will move to a package of its own
        quantization.quantize_dynamic(model, dict.fromkeys(names, quantization.default_dynamic_qconfig), inplace=True)

"""Layers for a CPU that only answers: weights laid out once as oneDNN's kernels want them.

torch's own layers hand float32 products to MKL, or lay the weights out anew at every call. These ask oneDNN, by the
operators that torch's compiler emits: about twice as fast for a few rows, and a fifth faster for many, on processors that MKL does not know.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def can_pack(weight: Tensor) -> bool:
    """Tell whether oneDNN's operators are there, and made for this weight: float32, on the CPU."""
    there = torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_convolution_pointwise")
    )
    return there and weight.device.type == "cpu" and weight.dtype == torch.float32


class PackedLinear(nn.Module):
    """A linear layer whose weight is packed; it cannot be trained.

    Args:
        weight: (out, in), for which ``can_pack`` holds.
        bias: (out,) or None.
        activation: what is computed with the product: ``none``, or ``gelu`` (exact).
        keep: keep ``weight`` beside the packed one, for who reads it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none", keep: bool = False) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.weight = weight.detach() if keep else None
        self.bias = None if bias is None else bias.detach()
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to (..., in)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, self._activation, [], "none")
        return product


class PackedConv2d(nn.Module):
    """A convolution whose weight is packed; it cannot be trained.

    Args:
        convolution: the layer, for whose weight ``can_pack`` holds; padded by numbers, not by ``same``.
        activation: what is computed with it: ``none`` or ``relu``.
    """

    def __init__(self, convolution: nn.Conv2d, activation: str = "none") -> None:
        super().__init__()
        self._geometry = (convolution.padding, convolution.stride, convolution.dilation, convolution.groups)
        weight = convolution.weight.detach()
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry)
        self._bias = None if convolution.bias is None else convolution.bias.detach()
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to (B, C, height, width)."""
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, self._activation, [], ""
        )


def pack(linear: nn.Linear, activation: str = "none", keep: bool = False) -> nn.Module:
    """Pack a linear layer where that can be done, else return it; the arguments are those of ``PackedLinear``."""
    return PackedLinear(linear.weight, linear.bias, activation, keep) if can_pack(linear.weight) else linear


def pack_convolution(convolution: nn.Conv2d, activation: str = "none") -> nn.Module:
    """Pack a convolution where that can be done, else return it."""
    return PackedConv2d(convolution, activation) if can_pack(convolution.weight) else convolution

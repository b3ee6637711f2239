"""Layers for a CPU that only answers: weights laid out once as oneDNN's kernels want them.

torch's own layers hand float32 products to MKL, which knows some makers' processors better than others', or lay the
weights out anew at every call. These ask oneDNN, by the operators that torch's compiler emits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def can_pack(weight: Tensor) -> bool:
    """Tell whether oneDNN's operators are there, and made for this weight: float32, on the CPU."""
    there: bool = torch.backends.mkldnn.is_available() and all(
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
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self._geometry = (convolution.padding, convolution.stride, convolution.dilation, convolution.groups)
        weight = convolution.weight.detach()
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry)
        self._bias = None if convolution.bias is None else convolution.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to (B, C, height, width)."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self._bias, *self._geometry, "none", [], ""
        )
        return result


def pack_linears(owner: nn.Module, *names: str, activation: str = "none", keep: bool = False) -> bool:
    """Pack some of a module's linear layers, where that can be done.

    Args:
        owner: the module.
        names: its attributes.
        activation: see ``PackedLinear``.
        keep: see ``PackedLinear``.

    Returns:
        Whether they were packed.
    """
    linears = [getattr(owner, name) for name in names]
    # In int8 they are no nn.Linear any more.
    if not all(isinstance(linear, nn.Linear) and can_pack(linear.weight) for linear in linears):
        return False
    for name, linear in zip(names, linears, strict=True):
        setattr(owner, name, PackedLinear(linear.weight, linear.bias, activation, keep))
    return True


def pack_convolution(convolution: nn.Conv2d) -> nn.Module:
    """Pack a convolution where that can be done, else return it."""
    return PackedConv2d(convolution) if can_pack(convolution.weight) else convolution

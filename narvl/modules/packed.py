"""Linear layers for a CPU that only answers: weights laid out once as oneDNN's kernels want them.

torch's own layer hands float32 products to MKL, which knows some makers' processors better than others'. This one asks
oneDNN, by the operator that torch's compiler emits. (Convolutions are oneDNN's in any case. Their weights, laid out
ahead in the same way, were found slower at most image sizes.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def can_pack(weight: Tensor) -> bool:
    """Tell whether oneDNN's operator is there, and made for this weight: float32, on the CPU."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
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
    linears = _packable(owner, names)
    for name, linear in linears.items():
        setattr(owner, name, PackedLinear(linear.weight, linear.bias, activation, keep))
    return bool(linears)


def pack_together(owner: nn.Module, *names: str) -> PackedLinear | None:
    """Make one packed layer of some of a module's linear layers that read the same, and take them out of the module.

    One product costs less than several small ones.

    Args:
        owner: the module.
        names: its attributes, all with biases.

    Returns:
        The layer, whose output has theirs side by side; None where it cannot be made, which leaves them in place.
    """
    linears = _packable(owner, names).values()
    if not linears:
        return None
    for name in names:
        delattr(owner, name)
    weight, bias = (torch.cat([getattr(linear, part) for linear in linears]) for part in ("weight", "bias"))
    return PackedLinear(weight, bias)


def _packable(owner: nn.Module, names: Sequence[str]) -> dict[str, nn.Linear]:
    """Return a module's linear layers by name, or nothing where one cannot be packed."""
    linears = {name: getattr(owner, name) for name in names}
    # In int8 they are no nn.Linear any more.
    packable = all(isinstance(linear, nn.Linear) and can_pack(linear.weight) for linear in linears.values())
    return linears if packable else {}

"""The image backbone: a ResNet cut after stage 3 (stride 16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck, make_blocks
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

#: Pixels a patch covers along each side.
STRIDE = 16

BATCH_NORM_MODES = ("live", "frozen", "sync")
BLOCKS = {"bottleneck": Bottleneck, "basic": BasicBlock}


class Backbone(nn.Module):
    """ResNet v1.5, stem and stages 1-3, without pooling (OFA paper, section 3.1).

    The stages are timm's; parameter names are theirs, which are those of OFA's checkpoints (``conv1``, ``bn1``,
    ``layer1.0.conv1``, ...).

    Args:
        blocks: blocks of stages 1-3, e.g. ``(3, 4, 23)`` for ResNet-101.
        width: inner channels of stage 1 (64 in every published size).
        block: ``bottleneck`` (every published size; the map has ``16 * width`` channels) or ``basic`` (two 3 x 3
            convolutions, ``4 * width`` channels: sees more of a small image for its cost).
        drop_path_rate: stochastic depth of the last block; earlier ones have linearly less.
        batch_norm: ``live`` (batch statistics in training), ``frozen`` (stored statistics, no training), or ``sync``
            (batch statistics over all ranks; needs GPUs).
        freeze: train nothing of the backbone; implies frozen batch norm.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        width: int = 64,
        block: str = "bottleneck",
        drop_path_rate: float = 0.0,
        batch_norm: str = "live",
        freeze: bool = False,
    ) -> None:
        super().__init__()
        kind = BLOCKS[block]
        self.out_channels = 4 * width * kind.expansion
        self._frozen_statistics = freeze or batch_norm == "frozen"
        norm = nn.SyncBatchNorm if batch_norm == "sync" and not freeze else nn.BatchNorm2d
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        stages, _ = make_blocks(
            (kind,) * 3,
            channels=(width, 2 * width, 4 * width),
            block_repeats=blocks,
            inplanes=width,
            norm_layer=norm,
            act_layer=nn.ReLU,
            drop_path_rate=drop_path_rate,
        )
        self.layer1, self.layer2, self.layer3 = (stage for _, stage in stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if freeze or (self._frozen_statistics and isinstance(module, nn.BatchNorm2d)):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad = False
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Switch the training mode, leaving frozen batch norm on its stored statistics."""
        super().train(mode)
        if self._frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def make_generation_fast_(self, **unused: Any) -> None:
        """Fold batch norm into the convolutions, for a model that only answers (fairseq's hook)."""
        for owner in self.modules():
            for part in (name for name in ("1", "2", "3") if hasattr(owner, f"bn{name}")):
                setattr(owner, f"conv{part}", _fold(getattr(owner, f"conv{part}"), getattr(owner, f"bn{part}")))
                setattr(owner, f"bn{part}", nn.Identity())
            if isinstance(shortcut := getattr(owner, "downsample", None), nn.Sequential):
                owner.downsample = _fold(*shortcut)
        convert_conv2d_weight_memory_format(self, torch.channels_last)  # as the images are, see ``forward``

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, height, width) to features (B, C, height / 16, width / 16), sides rounded up."""
        # Channels last: the convolutions run a third faster on CPUs, and flattening to tokens copies nothing.
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.act1(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
        return x


def _fold(convolution: nn.Conv2d, norm: Any) -> nn.Conv2d:
    """Make one convolution of a convolution and the batch norm after it, in float32."""
    dtype = convolution.weight.dtype
    return fuse_conv_bn_eval(convolution.float(), norm.float()).to(dtype)


def flatten_map(features: Tensor) -> Tensor:
    """Flatten a map (B, C, h, w) row by row into patch tokens (B, P, C)."""
    return features.flatten(2).transpose(1, 2)

"""Repairs of third-party packages, made once at import: torchvision on a CPU-only torch, fairseq on today's torch."""

from __future__ import annotations

import argparse

import torch


def _declare_torchvision_operators() -> None:
    """Let ``import torchvision`` (and so timm) succeed when its compiled operators do not fit this torch build.

    torchvision registers gradients and meta kernels for operators that a wheel built for another device never
    declares. Declaring their signatures is enough: nothing here calls them. With a matching build, torchvision has
    declared them already when its import ends, and this does nothing.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)
    import importlib
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")


def _allow_checkpoint_types() -> None:
    """Let ``torch.load(weights_only=True)`` read fairseq checkpoints: plain containers of plain values.

    fairseq stores its configuration in the checkpoint; switching the safe loader off would run any pickle.
    """
    from collections import OrderedDict, defaultdict

    import numpy as np
    from omegaconf import DictConfig, ListConfig

    torch.serialization.add_safe_globals(
        [argparse.Namespace, OrderedDict, defaultdict, DictConfig, ListConfig, np.dtype]
    )


_KEPT: list[torch.library.Library] = []  # a library that is collected takes its declarations with it

_declare_torchvision_operators()
_allow_checkpoint_types()

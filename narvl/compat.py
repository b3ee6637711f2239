"""Repairs of third-party packages, made once at import: torchvision on a CPU-only torch, fairseq on today's torch."""

from __future__ import annotations

import argparse
import logging

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


def _quieten_logs() -> None:
    """Keep fairseq's import from configuring everyone's logging, and pillow from logging each image.

    One of fairseq's models sets the root logger to DEBUG where nobody has configured it: in ``narvl`` and
    ``fairseq-generate`` every image would then be worth two lines on the terminal.
    """
    logging.getLogger("PIL").setLevel(logging.INFO)
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)  # asks for tensorboardX at import
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import fairseq  # noqa: F401

    root.handlers[:] = handlers
    root.setLevel(level)


_KEPT: list[torch.library.Library] = []  # a library that is collected takes its declarations with it

_quieten_logs()
_declare_torchvision_operators()
_allow_checkpoint_types()

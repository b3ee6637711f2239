"""Repairs of third-party packages, made once at import: torchvision on a CPU-only torch, fairseq on today's torch."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

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


def _share_checkpoints() -> None:
    """Let several processes start from a checkpoint.

    The first one reads it, and fairseq sends it to the others by way of ``torch.load``, whose safe loader refuses the
    settings in it. What comes from a process of the same run needs no such care.
    """
    from fairseq.distributed import utils

    def broadcast(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
        holder = [obj]
        torch.distributed.broadcast_object_list(holder, src=src_rank, group=group, device=dist_device)
        return holder[0]

    utils._broadcast_object_slow = broadcast


def _accept_foreign_settings() -> None:
    """Let ``--restore-file`` take the weights of OFA's published checkpoints, whose settings mean nothing here.

    fairseq turns the stored command line of an older checkpoint into a configuration, and stops with a KeyError at
    tasks, models and criterions that are not registered. Without settings, the weights alone are loaded.
    """
    from fairseq import checkpoint_utils, tasks

    upgrade = checkpoint_utils._upgrade_state_dict

    def upgrade_known(state: dict[str, Any]) -> Any:
        args = state.get("args")
        if args is not None and getattr(args, "task", None) not in tasks.TASK_REGISTRY:
            state["args"] = None
        return upgrade(state)

    checkpoint_utils._upgrade_state_dict = upgrade_known


def _copy_files_whole() -> None:
    """Let ``checkpoint_last.pt`` be replaced at once or not at all.

    fairseq writes a checkpoint beside its place and renames it, but then copies it over the other names. A run killed
    while it copies would leave half a file, from which no run can go on.
    """
    from fairseq.file_io import PathManager

    copy = PathManager.copy

    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if not PathManager.supports_rename(dst_path):
            return bool(copy(src_path, dst_path, overwrite))
        partial = f"{dst_path}.tmp"
        copy(src_path, partial, True)
        os.replace(partial, dst_path)
        return True

    PathManager.copy = staticmethod(copy_whole)


def _average_batch_norm() -> None:
    """Let ``--store-ema`` average the weights of a model with batch norm, and start from a checkpoint without averages.

    fairseq multiplies batch norm's step counters by the decay, which integers refuse; they are copied instead. And
    where ``--finetune-from-model`` names a checkpoint that holds no averages, fairseq reads the weights after it has
    deleted them; with averages of nothing in the checkpoint, the average starts from the model's weights.
    """
    from fairseq import checkpoint_utils
    from fairseq.models.ema import EMA

    begin = EMA.__init__

    def begin_with_floats(self: Any, model: Any, config: Any, device: Any = None, skip_keys: Any = None) -> None:
        counters = {key for key, value in model.state_dict().items() if not value.is_floating_point()}
        begin(self, model, config, device, counters | (skip_keys or set()))

    restore = EMA.restore

    def restore_if_any(self: Any, state_dict: dict[str, Any], build_fp32_params: bool = False) -> None:
        if state_dict:
            restore(self, state_dict, build_fp32_params)

    upgrade = checkpoint_utils._upgrade_state_dict

    def upgrade_with_averages(state: dict[str, Any]) -> Any:
        state = upgrade(state)
        state["extra_state"].setdefault("ema", {})
        return state

    EMA.__init__ = begin_with_floats
    EMA.restore = restore_if_any
    checkpoint_utils._upgrade_state_dict = upgrade_with_averages


def _compare_settings_with_weights() -> None:
    """Let a checkpoint build no model of another size than its weights: its settings could claim any."""
    from fairseq import checkpoint_utils

    upgrade = checkpoint_utils._upgrade_state_dict

    def upgrade_checked(state: dict[str, Any]) -> Any:
        from narvl.models._sizes import check_sizes

        state = upgrade(state)
        check_sizes(state)
        return state

    checkpoint_utils._upgrade_state_dict = upgrade_checked


def _quieten_logs() -> None:
    """Undo what fairseq's import does to everyone's logs, and keep pillow from logging each image.

    One of fairseq's models sets the root logger to DEBUG where nobody has configured it. Then nothing that ``narvl`` or
    ``fairseq-generate`` configures later counts, and every image is worth two lines on the terminal.
    """
    logging.getLogger("PIL").setLevel(logging.INFO)
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)  # asks for tensorboardX at import
    root = logging.getLogger()
    if "fairseq_cli.generate" in sys.modules:
        root.setLevel(os.environ.get("LOGLEVEL", "INFO").upper())  # as fairseq-generate means to
    handlers, level = root.handlers[:], root.level
    import fairseq  # noqa: F401

    root.handlers[:] = handlers
    root.setLevel(level)


_KEPT: list[torch.library.Library] = []  # a library that is collected takes its declarations with it

_quieten_logs()
_declare_torchvision_operators()
_allow_checkpoint_types()
_share_checkpoints()
_accept_foreign_settings()
_copy_files_whole()
_average_batch_norm()
_compare_settings_with_weights()

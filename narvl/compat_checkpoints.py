"""Repairs of how fairseq reads and writes checkpoints, made at import: safely, whole, by name, of the right run."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from narvl.errors import DataError, UsageError, first_line

logger = logging.getLogger(__name__)

# The value of --restore-file where it is not given.
_LAST = "checkpoint_last.pt"


def _allow_checkpoint_types() -> None:
    """Let ``torch.load(weights_only=True)`` read fairseq checkpoints: plain containers of plain values.

    fairseq stores its configuration in the checkpoint; switching the safe loader off would run any pickle.
    """
    from collections import OrderedDict, defaultdict

    import numpy as np
    from omegaconf import ListConfig

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


def _read_checkpoints_by_name() -> None:
    """Let every command refuse a checkpoint that is damaged, or none, in one line that names it.

    And let it be read safely even where the environment tells torch to run what a checkpoint asks for.
    """
    from fairseq import checkpoint_utils
    from fairseq.dataclass.utils import overwrite_args_by_name
    from fairseq.file_io import PathManager
    from omegaconf import OmegaConf

    from narvl import checkpoints

    def load(path: str, arg_overrides: dict[str, Any] | None = None, load_on_all_ranks: bool = False) -> Any:
        state = checkpoints.read(PathManager.get_local_path(path))
        try:
            if state.get("args") is not None:
                vars(state["args"]).update(arg_overrides or {})
            if state.get("cfg") is not None:
                state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
                overwrite_args_by_name(state["cfg"], arg_overrides or {})
            return checkpoint_utils._upgrade_state_dict(state)
        except Exception as error:  # its values are of a stranger's making, too
            raise DataError(
                f"{path}: a checkpoint that fairseq cannot use ({type(error).__name__}: {first_line(error)}). "
                "Give one of fairseq-train."
            ) from error

    checkpoint_utils.load_checkpoint_to_cpu = load


def _refuse_tasks_of_others() -> None:
    """Let no checkpoint choose a task of another project: some of fairseq's evaluate the settings that it brings.

    ``fairseq-validate`` takes the task from the checkpoint, as ``narvl.inference`` does; the task builds the rest, and
    ours refuses models and criterions of others.
    """
    from fairseq import checkpoint_utils, tasks

    from narvl.data.vocabulary import BPE_FILES, find_bpe

    load = checkpoint_utils.load_model_ensemble_and_task

    def load_ours(
        filenames: Sequence[str],
        arg_overrides: dict[str, Any] | None = None,
        task: Any = None,
        strict: bool = True,
        suffix: str = "",
        num_shards: int = 1,
        state: dict[str, Any] | None = None,
    ) -> Any:
        if task is None:
            first = checkpoint_utils.get_maybe_sharded_checkpoint_filename(filenames[0], suffix, 0, num_shards)
            state = state or checkpoint_utils.load_checkpoint_to_cpu(first, arg_overrides)
            if not _is_ours(state.get("cfg")):
                raise UsageError(
                    f"{first}: a checkpoint of another project. Give one of fairseq-train --user-dir narvl."
                )
            settings = state["cfg"].task
            if not (arg_overrides or {}).get("bpe_dir"):
                told = str(settings.get("bpe_dir") or settings.get("data"))
                settings.bpe_dir = find_bpe(first, told)
                if settings.bpe_dir is None:
                    raise UsageError(
                        f"{first}: trained with the BPE files in {told}, which is neither here nor in a folder above "
                        f"the checkpoint. Give --bpe-dir FOLDER, with {', '.join(BPE_FILES)}."
                    )
            task = tasks.setup_task(settings, from_checkpoint=True)
            state = state if len(filenames) == num_shards == 1 else None
        return load(filenames, arg_overrides, task, strict, suffix, num_shards, state)

    checkpoint_utils.load_model_ensemble_and_task = load_ours


def _name_checkpoints_that_cannot_be_loaded() -> None:
    """Let every command name the checkpoint of which no task or model can be built: what fails tells of a setting."""
    from fairseq import checkpoint_utils

    load = checkpoint_utils.load_model_ensemble_and_task

    def load_named(filenames: Sequence[str], *args: Any, **options: Any) -> Any:
        try:
            return load(filenames, *args, **options)
        except (DataError, UsageError):
            raise
        except Exception as error:  # its values are of a stranger's making
            raise DataError(
                f"{', '.join(filenames)}: not a checkpoint that can be loaded ({type(error).__name__}: "
                f"{first_line(error)}). Give one of fairseq-train --user-dir narvl."
            ) from error

    checkpoint_utils.load_model_ensemble_and_task = load_named


def _is_ours(cfg: Any) -> bool:
    """Tell whether fairseq would build one of our tasks from a checkpoint's settings."""
    from fairseq.tasks import TASK_REGISTRY

    from narvl.tasks._base import VisionLanguageTask

    try:
        # In fairseq's order. From a Namespace it would take other entries.
        named = [cfg.task.get(key) for key in ("task", "_name")] if isinstance(cfg.task, DictConfig) else []
    except (OmegaConfBaseException, AttributeError, ValueError):  # no configuration at all
        return False
    name = next((name for name in named if isinstance(name, str)), "")
    return issubclass(TASK_REGISTRY.get(name, object), VisionLanguageTask)


def _find_the_checkpoint_to_start_from() -> None:
    """Name what a training cannot start from: fairseq begins anew without the file, torch tells of groups alone."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    load = checkpoint_utils.load_checkpoint

    def load_existing(cfg: Any, trainer: Any, **options: Any) -> Any:
        from narvl.compat_training import patience

        named = cfg.restore_file.replace(".pt", f"{trainer.checkpoint_suffix}.pt")
        if cfg.restore_file != _LAST and not PathManager.exists(named):
            raise UsageError(f"--restore-file {named}: no such file. Give a checkpoint, or drop the flag.")
        read = checkpoint_utils.load_checkpoint_to_cpu

        def read_the_same_run_s(path: str, *args: Any, **named: Any) -> Any:
            state = read(path, *args, **named)
            if Path(path) == Path(cfg.save_dir) / _LAST.replace(".pt", f"{trainer.checkpoint_suffix}.pt"):
                _check_run(state, trainer.cfg, cfg)
            return state

        checkpoint_utils.load_checkpoint_to_cpu = read_the_same_run_s
        try:
            loaded = load(cfg, trainer, **options)
        except ValueError as error:
            if "optimizer's group" not in str(error):
                raise
            raise UsageError(
                f"--save-dir {cfg.save_dir}: the training there is of a model with other parameters. Give the flags "
                "that it was begun with (such as --self-conditioned-layers), or another --save-dir and "
                "--finetune-from-model."
            ) from error
        finally:
            checkpoint_utils.load_checkpoint_to_cpu = read
        if cfg.reset_optimizer or cfg.reset_meters:  # then fairseq forgets the best checkpoint, too
            patience().clear()
        return loaded

    checkpoint_utils.load_checkpoint = load_existing


def _check_run(state: dict[str, Any], settings: DictConfig, cfg: Any) -> None:
    """Refuse to go on with another run's checkpoint, which a folder holds that was used before.

    Raises:
        UsageError: it is of another task or model, or, unless the optimiser is begun anew, of another loss.
    """
    before = state.get("cfg")
    if before is None:
        return
    parts = {"task": "--task", "model": "--arch"} | ({} if cfg.reset_optimizer else {"criterion": "--criterion"})
    for part, flag in parts.items():
        first, now = (run[part].get("_name") for run in (before, settings))
        if first != now:
            raise UsageError(
                f"--save-dir {cfg.save_dir}: the training there is of {flag} {first}, and this one of {now}. Give "
                "another folder, or the flags that it was begun with."
            )
    first, now = (Path(str(run.task.get("data"))).resolve() for run in (before, settings))
    if first != now:
        logger.warning("--save-dir %s: begun with the data in %s, this goes on with %s", cfg.save_dir, first, now)


def _write_checkpoints_whole() -> None:
    """Let every checkpoint be replaced at once or not at all, and a full disk be told with the file's name.

    fairseq writes the first of a moment's checkpoints beside its place, but copies it over the others: a run killed
    meanwhile would leave half a file. And where writing fails, it appends another try to what the last one has left.
    """
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    from narvl import checkpoints

    save, copy = checkpoint_utils.torch_persistent_save, PathManager.copy

    def save_whole(obj: Any, filename: str, async_write: bool = False) -> None:
        if async_write or not PathManager.supports_rename(filename):
            save(obj, filename, async_write)
        else:
            checkpoints.write(obj, filename, tries=3)  # as many as fairseq

    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if not PathManager.supports_rename(dst_path):
            return bool(copy(src_path, dst_path, overwrite))
        checkpoints.copy(src_path, dst_path)
        return True

    checkpoint_utils.torch_persistent_save = save_whole
    PathManager.copy = staticmethod(copy_whole)


def _check_settings_of_checkpoints() -> None:
    """Let a checkpoint build no model of another size than its weights, or of values that are no settings."""
    from fairseq import checkpoint_utils

    upgrade = checkpoint_utils._upgrade_state_dict

    def upgrade_checked(state: dict[str, Any]) -> Any:
        from narvl.models._settings import check_settings
        from narvl.models._sizes import check_sizes

        state = upgrade(state)
        check_sizes(state)
        check_settings(state)
        return state

    checkpoint_utils._upgrade_state_dict = upgrade_checked


_allow_checkpoint_types()
_share_checkpoints()
_accept_foreign_settings()
_read_checkpoints_by_name()
_refuse_tasks_of_others()
_name_checkpoints_that_cannot_be_loaded()
_find_the_checkpoint_to_start_from()
_write_checkpoints_whole()
_check_settings_of_checkpoints()

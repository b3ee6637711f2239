"""Repairs of how fairseq trains, made at import: empty batches, broken updates, runs that do not begin."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch

from narvl.errors import UsageError

#: Marks a batch that stands in for one without rows: it is computed, and must count for nothing.
STAND_IN = "stand_in"


def patience() -> dict[str, Any]:
    """Return what ``--patience`` counts: the best validation so far, and how many since did not improve on it.

    fairseq keeps it in attributes of a function, which a training that is started again has not; it may be changed.
    Empty before the first validation, and without the flag.
    """
    command = sys.modules.get("fairseq_cli.train")
    return {} if command is None else vars(command.should_stop_early)


def _is_guarded(task: Any) -> bool:
    """Tell whether a task is one of ours (``narvl.tasks._guards``), or another of fairseq's."""
    return hasattr(task, "explain_broken_update")


def _mark_stand_ins() -> None:
    """Let a batch without rows count for nothing.

    Where a process has no batch left, or every row of one was skipped, fairseq's trainer computes another batch without
    its gradient. It counts that batch's rows in validation by one process, and with ``--update-freq`` it forgets the
    rows of the batches before it: the gradient is divided by too small a number. Marked instead, the batch is left to
    our tasks, which count it out.
    """
    from fairseq.trainer import Trainer

    prepare = Trainer._prepare_sample

    def prepare_marked(self: Any, sample: Any, is_dummy: bool = False) -> tuple[Any, bool]:
        sample, stand_in = prepare(self, sample, is_dummy)
        if stand_in and _is_guarded(self.task):
            return {**sample, STAND_IN: True}, False
        return sample, stand_in

    Trainer._prepare_sample = prepare_marked


def _explain_broken_updates() -> None:
    """Let an update whose gradient cannot be used, or that finds no memory, end in our tasks' error, which names rows.

    fairseq says that gradients are not finite, or, where several processes train, blames the way they exchange them. A
    batch that finds no memory it leaves out with a warning: its rows are never learned, and a training all of whose
    batches are too large ends well.
    """
    from fairseq.trainer import Trainer

    train_step = Trainer.train_step

    def train_step_explained(self: Any, samples: Any, raise_oom: bool = False) -> Any:
        guarded = _is_guarded(self.task)
        try:
            return train_step(self, samples, raise_oom or guarded)
        except FloatingPointError as error:
            if not guarded:
                raise
            raise self.task.explain_broken_update(samples, error) from error
        except RuntimeError as error:
            if not guarded or "out of memory" not in str(error):  # how fairseq tells
                raise
            raise self.task.explain_lack_of_memory(samples, error) from error

    Trainer.train_step = train_step_explained


def _explain_broken_validation() -> None:
    """Let a batch of validation that finds no memory end in our tasks' error, once fairseq has tried it again."""
    from fairseq.trainer import Trainer

    valid_step = Trainer.valid_step

    def valid_step_explained(self: Any, sample: Any, raise_oom: bool = False) -> Any:
        try:
            return valid_step(self, sample, raise_oom)
        except RuntimeError as error:
            if not _is_guarded(self.task) or "out of memory" not in str(error):
                raise
            raise self.task.explain_lack_of_memory([sample], error, training=False) from error

    Trainer.valid_step = valid_step_explained


def _refuse_to_train_nothing() -> None:
    """Let ``fairseq-train`` fail where it would end at once, and tell that all went well.

    fairseq starts as many processes as there are GPUs when it is told how they shall meet, so none without GPUs. And
    without the package for asynchronous checkpoints it logs an error and returns.
    """
    from fairseq.distributed import utils

    call_main = utils.call_main

    def call_main_checked(cfg: Any, main: Any, **options: Any) -> None:
        cluster = cfg.distributed_training
        if cluster.distributed_init_method is None:
            utils.infer_init_method(cluster)
        spawns = cluster.distributed_init_method is not None and not cluster.distributed_no_spawn
        if spawns and not torch.cuda.device_count():
            raise UsageError(
                f"--distributed-init-method {cluster.distributed_init_method}: no GPU here to start processes for. Add "
                "--distributed-no-spawn and start each --distributed-rank yourself (run_scripts/train.sh does)."
            )
        if cfg.checkpoint.write_checkpoints_asynchronously and importlib.util.find_spec("iopath") is None:
            raise UsageError("--write-checkpoints-asynchronously: pip install iopath, or drop the flag.")
        call_main(cfg, main, **options)

    utils.call_main = call_main_checked


_mark_stand_ins()
_explain_broken_updates()
_explain_broken_validation()
_refuse_to_train_nothing()

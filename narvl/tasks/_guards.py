"""What keeps training and decoding from going wrong unnoticed: broken losses, stand-in batches, rows left to others."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from narvl.compat_training import STAND_IN, patience
from narvl.errors import DataError, UsageError
from narvl.models.ofa import unwrap

logger = logging.getLogger(__name__)

_ADVICE = (
    "Look at these rows. Where they are sound, training has diverged: lower --lr, lengthen --warmup-updates or set "
    "--clip-norm, and start the command again, which goes on from the last checkpoint."
)


class GuardedTask(FairseqTask):
    """A task whose steps stop at a loss that is no number, and count each row once and stand-in batches never."""

    def train_step(
        self,
        sample: dict[str, Any],
        model: nn.Module,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Do forward and backward on a batch (fairseq's hook).

        Raises:
            DataError: the loss is not finite, and no loss scaler leaves the update out.
        """
        stand_in = STAND_IN in sample
        if hasattr(criterion, "set_num_updates"):
            criterion.set_num_updates(update_num)
        loss, size, log = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad or stand_in)
        if stand_in:
            return loss, 0, count_out(log)
        # Parallel criterions have it on the host already; for others this is the step's one wait for the device.
        value = float(log["loss"])
        if not math.isfinite(value):
            self._report_broken_loss(value, sample, model, optimizer, update_num)
        return loss, size, log

    def _report_broken_loss(
        self, value: float, sample: dict[str, Any], model: nn.Module, optimizer: Any, update_num: int
    ) -> None:
        what = f"{self._name_rows([sample])}: the loss of this batch is {value} after {update_num} updates"
        if not scales_loss(optimizer):
            raise DataError(f"{what}. {_ADVICE}")
        # The scaler leaves the gradient out. What batch norm has seen stays.
        for name, buffer in model.named_buffers():
            if "running_" in name and not buffer.isfinite().all():
                raise DataError(
                    f"{what}, and so is batch norm's {name}. Go on from the last checkpoint with --batch-norm frozen, "
                    "or without half precision."
                )
        logger.warning("%s in half precision; the loss scaler leaves the update out", what)

    def explain_broken_update(self, samples: Sequence[dict[str, Any]], error: FloatingPointError) -> DataError:
        """Make the error of an update whose gradient cannot be used (``narvl.compat_training`` asks for it).

        Args:
            samples: the update's batches.
            error: what fairseq says.
        """
        reason = str(error).splitlines()[0].rstrip(".")
        return DataError(f"{self._name_rows(samples)}: no update can be made of them ({reason}). {_ADVICE}")

    def explain_lack_of_memory(
        self, samples: Sequence[dict[str, Any]], error: RuntimeError, training: bool = True
    ) -> UsageError:
        """Make the error of batches for which there is no memory (``narvl.compat_training`` asks for it).

        Args:
            samples: the update's batches, or one of validation.
            error: what torch says.
            training: whether they are an update's.
        """
        reason = str(error).splitlines()[0].rstrip(".")
        what = f"{self._name_rows(samples)}: no memory is left to"
        if not training:
            return UsageError(f"{what} validate them ({reason}). Give a smaller --batch-size-valid.")
        return UsageError(
            f"{what} learn them ({reason}). Give a smaller --batch-size, and an --update-freq larger by as much, which "
            "keeps the effective batch; or --checkpoint-activations."
        )

    def _name_rows(self, samples: Sequence[dict[str, Any]]) -> str:
        """Name the rows of some batches of a split as messages do: ``path, rows N, M`` counted from 1."""
        filled = [sample for sample in samples if sample]
        if not filled:
            return "rows of other processes"
        rows = sorted(index + 1 for sample in filled for index in sample["id"].tolist())
        return f"{self.dataset(filled[0]['split']).rows.path}, rows {', '.join(map(str, rows))}"

    def valid_step(self, sample: dict[str, Any], model: Any, criterion: Any) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the validation loss, and what the task measures beside it (fairseq's hook).

        Raises:
            DataError: the loss is not finite; fairseq would take the first such checkpoint for the best one.
        """
        if not sample:  # fairseq-validate passes on what --skip-bad-rows has left empty
            return torch.zeros(()), 0, {}
        outputs: list[Any] = []
        told = unwrap(model).register_forward_hook(lambda module, given, output: outputs.append(output))
        try:
            loss, size, log = super().valid_step(sample, model, criterion)
        finally:
            told.remove()
        value = float(log["loss"])
        if not math.isfinite(value) and STAND_IN not in sample:
            raise DataError(f"{self._name_rows([sample])}: the loss of this batch in validation is {value}. {_ADVICE}")
        log.update(self.measure(sample, model, outputs))
        return (loss, 0, count_out(log)) if STAND_IN in sample else (loss, size, log)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside fairseq's own (fairseq's hook): what ``--patience`` counts."""
        return {type(self).__name__: dict(patience())}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        """Go on with what a checkpoint holds (fairseq's hook)."""
        patience().update(best=state["best"], num_runs=state["num_runs"])

    def measure(self, sample: dict[str, Any], model: Any, outputs: Sequence[Any]) -> dict[str, Any]:
        """Return what validation logs beside the loss, as sums over the batch.

        Args:
            sample: the batch.
            model: the model.
            outputs: of its forward passes for the loss, which need no repeating.
        """
        return {}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log the criterion's means, where there is a row to take them over (fairseq's hook)."""
        counts = [log.get("nsentences", 1) for log in logging_outputs]
        if any(torch.is_tensor(count) or count for count in counts):
            super().reduce_metrics(logging_outputs, criterion)
        else:
            metrics.log_scalar("loss", 0.0, weight=0)  # fairseq asks for an entry

    def get_batch_iterator(
        self, dataset: Any, *args: Any, num_shards: int = 1, shard_id: int = 0, **options: Any
    ) -> Any:
        """Return an iterator over batches whose workers end with it (fairseq's hook).

        fairseq keeps workers for the next epoch, but makes another iterator for the next epoch of shuffled rows: those
        of many epochs pile up, with their memory and open files. Those of validation do stay. They share the memory of
        the process that starts them until somebody writes there, as the garbage collector sooner or later does to
        every object that it looks at; so it no longer looks at what is there now.

        On a machine with several GPUs fairseq-generate decodes the first one's share of the rows, unless told
        otherwise; that is logged.

        Raises:
            UsageError: fairseq-generate has more processes than batches.
        """
        if not gc.get_freeze_count():
            gc.collect()
            gc.freeze()
            gc.collect()  # the next full one comes when there is a quarter more than now: next to nothing
        iterator = super().get_batch_iterator(dataset, *args, num_shards=num_shards, shard_id=shard_id, **options)
        iterator.persistent_workers &= self.can_reuse_epoch_itr(dataset)
        if num_shards > 1 and not torch.distributed.is_initialized():
            batches = len(iterator.frozen_batches)
            if num_shards > batches:
                raise UsageError(f"--distributed-world-size {num_shards}: there are {batches} batches. Give no more.")
            logger.warning(
                "--distributed-world-size %d --distributed-rank %d: one batch in %d is decoded here. "
                "--distributed-world-size 1 decodes all",
                num_shards,
                shard_id,
                num_shards,
            )
        return iterator


def count_out(log: dict[str, Any]) -> dict[str, Any]:
    """Return a step's log with every entry zero: fairseq adds up the same entries from all processes."""
    return {key: torch.zeros_like(value) if torch.is_tensor(value) else 0 for key, value in log.items()}


def scales_loss(optimizer: Any) -> bool:
    """Tell whether the optimizer scales the loss and leaves out updates that overflow (``--fp16``, ``--amp``)."""
    scaler = getattr(optimizer, "scaler", None)
    if isinstance(scaler, torch.amp.GradScaler):
        return scaler.is_enabled()  # not on CPUs: there it does nothing
    return scaler is not None

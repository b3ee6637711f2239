"""Steps of fairseq's own trainer: a broken loss or gradient names its rows, and a stand-in batch counts for nothing."""

from __future__ import annotations

import copy
import functools
import gc
import logging
import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from narvl.errors import DataError, UsageError

MODELS = {
    "query_ctc": ("narvl_nano",),
    "query_cross_entropy": ("narvl_nano", "--alignment", "position"),
    "label_smoothed_cross_entropy": ("ofa_nano",),
    "weighted_cross_entropy": ("ofa_nano",),
}
SMALL = ("--patch-image-size", "32", "--dropout", "0", "--cpu", "--optimizer", "sgd", "--lr", "0.1")
HALF = {"common.fp16": True, "common.fp16_no_flatten_grads": True, "common.fp16_init_scale": 4}
FROZEN = {"model.batch_norm": "frozen"}


@pytest.fixture(scope="module")
def configuration(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """fairseq-train's configuration for a criterion; parsing takes the better part of a second."""
    folder = tmp_path_factory.mktemp("run")

    @functools.cache
    def make(criterion: str) -> Any:
        from fairseq import options
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        import narvl  # noqa: F401

        arch, *more = MODELS[criterion]
        words = [str(scenes), "--task", "captioning", "--criterion", criterion, "--arch", arch, *more, *SMALL]
        args = options.parse_args_and_arch(options.get_training_parser(), [*words, "--save-dir", str(folder)])
        return convert_namespace_to_omegaconf(args)

    return make


@pytest.fixture
def make_trainer(configuration: Callable[[str], Any]) -> Callable[..., Any]:
    """Build fairseq's trainer: ``make_trainer(criterion, settings)``."""

    def make(criterion: str, settings: dict[str, Any] | None = None) -> Any:
        from fairseq import tasks
        from fairseq.trainer import Trainer

        cfg = copy.deepcopy(configuration(criterion))
        for name, value in (settings or {}).items():
            OmegaConf.update(cfg, name, value)
        task = tasks.setup_task(cfg.task)
        task.load_dataset("train")
        torch.manual_seed(1)
        return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))

    return make


def batch(trainer: Any, *rows: int, split: str = "train") -> dict[str, Any]:
    dataset = trainer.task.dataset(split)
    return dataset.collater([dataset[row] for row in rows])


def broken(trainer: Any, value: float, *rows: int, split: str = "train") -> dict[str, Any]:
    """A batch whose last row's image has one pixel of ``value``."""
    found = batch(trainer, *rows, split=split)
    found["net_input"]["patch_images"][-1, 0, 7, 7] = value
    return found


def weights(trainer: Any) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(map(torch.equal, left, right))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What narvl has warned of."""
    records = [record for record in caplog.records if record.levelno == logging.WARNING]
    return [record.getMessage() for record in records if record.name.startswith("narvl.")]


class TestBrokenLosses:
    @pytest.mark.parametrize("criterion", MODELS)
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_training_stops_and_names_the_rows(
        self, make_trainer: Callable, scenes: Path, criterion: str, value: float
    ) -> None:
        trainer = make_trainer(criterion)
        trainer.train_step([batch(trainer, 7)])
        before = weights(trainer)
        with pytest.raises(DataError) as error:
            trainer.train_step([batch(trainer, 0, 1), broken(trainer, value, 9, 4)])
        message = str(error.value)
        assert message.startswith(f"{scenes / 'train.tsv'}, rows 5, 10: the loss of this batch is nan after 1 updates")
        assert "lower --lr" in message and "\n" not in message
        assert same(weights(trainer), before)

    @pytest.mark.parametrize("criterion", MODELS)
    @pytest.mark.parametrize("settings", [{}, {"task.no_valid_generation": True}, HALF], ids=["", "no metric", "half"])
    def test_validation_stops_and_names_the_rows(
        self, make_trainer: Callable, scenes: Path, criterion: str, settings: dict[str, Any]
    ) -> None:
        """Of a loss that is no number, fairseq makes a checkpoint_best.pt."""
        trainer = make_trainer(criterion, settings)
        trainer.task.load_dataset("valid")
        with pytest.raises(DataError) as error:
            trainer.valid_step(broken(trainer, math.nan, 3, 1, split="valid"))
        message = str(error.value)
        assert message.startswith(
            f"{scenes / 'valid.tsv'}, rows 2, 4: the loss of this batch in validation is nan. Look"
        )
        assert "lower --lr" in message and "\n" not in message

    @pytest.mark.parametrize("criterion", ["query_ctc", "label_smoothed_cross_entropy"])
    def test_a_broken_gradient_names_the_rows_of_the_update(
        self, make_trainer: Callable, scenes: Path, criterion: str
    ) -> None:
        trainer = make_trainer(criterion)
        trainer.reset_dummy_batch(batch(trainer, 8))
        next(trainer.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
        before = weights(trainer)
        with pytest.raises(DataError) as error:
            trainer.train_step([batch(trainer, 0, 1), batch(trainer, 4), {}])
        assert str(error.value).startswith(
            f"{scenes / 'train.tsv'}, rows 1, 2, 5: no update can be made of them (gradients are Nan/Inf). Look at"
        )
        assert same(weights(trainer), before)

    def test_a_loss_scaler_that_is_off_stops_too(self, make_trainer: Callable) -> None:
        """torch switches the scaler of --amp off where there is no GPU: it would let the update through."""
        trainer = make_trainer("query_ctc", {"common.amp": True})
        if trainer.optimizer.scaler.is_enabled():
            pytest.skip("needs a machine without GPU")
        with pytest.raises(DataError, match="the loss of this batch is nan"):
            trainer.train_step([broken(trainer, math.inf, 9, 4)])


class TestMemory:
    """fairseq leaves a batch that finds no memory out of the training, and goes on."""

    @pytest.fixture
    def trainer(self, make_trainer: Callable, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A trainer with no memory for more than three rows at a time."""
        found = make_trainer("query_ctc")
        forward = found.criterion.forward

        def forward_few(model: Any, sample: dict[str, Any], **options: Any) -> Any:
            if len(sample["id"]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words.")
            return forward(model, sample, **options)

        monkeypatch.setattr(found.criterion, "forward", forward_few)
        return found

    def test_training_stops_and_names_the_rows(self, trainer: Any, scenes: Path) -> None:
        assert trainer.train_step([batch(trainer, 0, 1)])["loss"] > 0
        before = weights(trainer)
        with pytest.raises(UsageError) as error:
            trainer.train_step([batch(trainer, 7, 8), batch(trainer, 2, 3, 4, 5)])
        message = str(error.value)
        assert message.startswith(
            f"{scenes / 'train.tsv'}, rows 3, 4, 5, 6, 8, 9: no memory is left to learn them (CUDA"
        )
        for flag in ("--batch-size", "--update-freq", "--checkpoint-activations"):
            assert flag in message
        assert "\n" not in message and same(weights(trainer), before)

    def test_validation_stops_and_names_the_rows(self, trainer: Any, scenes: Path) -> None:
        trainer.task.load_dataset("valid")
        assert trainer.valid_step(batch(trainer, 0, 1, split="valid"))["loss"] > 0
        with pytest.raises(UsageError) as error:
            trainer.valid_step(batch(trainer, 2, 3, 4, 5, split="valid"))
        assert str(error.value) == (
            f"{scenes / 'valid.tsv'}, rows 3, 4, 5, 6: no memory is left to validate them (CUDA out of memory. "
            "Tried to allocate 2.00 GiB). Give a smaller --batch-size-valid."
        )

    def test_validation_goes_on_where_the_second_try_finds_memory(
        self, trainer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainer.task.load_dataset("valid")
        forward, tries = trainer.criterion.forward, []

        def forward_late(*args: Any, **options: Any) -> Any:
            tries.append(1)
            if len(tries) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return forward(*args, **options)

        monkeypatch.setattr(trainer.criterion, "forward", forward_late)
        assert trainer.valid_step(batch(trainer, 0, 1, split="valid"))["loss"] > 0
        assert len(tries) == 2

    def test_other_errors_stay_what_they_are(self, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise RuntimeError("shapes differ")

        monkeypatch.setattr(trainer.criterion, "forward", fail)
        for step in (lambda: trainer.train_step([batch(trainer, 0)]), lambda: trainer.valid_step(batch(trainer, 0))):
            with pytest.raises(RuntimeError, match="^shapes differ$"):
                step()


class TestHalfPrecision:
    @pytest.fixture(autouse=True)
    def on_any_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """fairseq puts the gradient norm of an update that it leaves out, zero, on a GPU."""
        monkeypatch.setattr(Tensor, "cuda", lambda tensor: tensor)

    @pytest.mark.parametrize("criterion", ["query_ctc", "weighted_cross_entropy"])
    def test_the_scaler_leaves_the_update_out(
        self, make_trainer: Callable, scenes: Path, criterion: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        trainer = make_trainer(criterion, HALF | FROZEN)
        before = weights(trainer)
        with caplog.at_level(logging.WARNING, "narvl"):
            assert trainer.train_step([broken(trainer, math.inf, 9, 4)]) is None
        [message] = warnings(caplog)
        assert message.startswith(f"{scenes / 'train.tsv'}, rows 5, 10: the loss of this batch is nan after 0 updates")
        assert message.endswith("the loss scaler leaves the update out")
        assert trainer.optimizer.scaler.loss_scale == 2
        assert trainer.get_num_updates() == 0 and same(weights(trainer), before)
        assert trainer.train_step([batch(trainer, 9, 4)])["loss"] > 0
        assert trainer.get_num_updates() == 1 and not same(weights(trainer), before)

    def test_what_batch_norm_has_seen_cannot_be_left_out(self, make_trainer: Callable) -> None:
        trainer = make_trainer("query_ctc", HALF)
        with pytest.raises(DataError, match=r"rows 5, 10: .* encoder\..*running_mean\. .*--batch-norm frozen"):
            trainer.train_step([broken(trainer, math.inf, 9, 4)])


class TestStandIns:
    """What fairseq computes in the place of a batch without rows: a process has none left, or all were skipped."""

    @pytest.mark.parametrize("criterion", ["query_ctc", "label_smoothed_cross_entropy"])
    @pytest.mark.parametrize("place", [0, 1], ids=["first", "last"])
    def test_training_does_not_count_them(self, make_trainer: Callable, criterion: str, place: int) -> None:
        with_it, without = (make_trainer(criterion, FROZEN) for _ in range(2))
        batches = [batch(with_it, 0, 1), batch(with_it, 2, 3, 4)]
        with_it.reset_dummy_batch(batch(with_it, 5, 6))
        logs = [
            with_it.train_step([*batches[:place], {}, *batches[place:], *([{}] if place else [])]),
            without.train_step(batches),
        ]
        assert logs[0]["loss"] == logs[1]["loss"] > 0
        assert logs[0]["sample_size"] == logs[1]["sample_size"] > 0
        for left, right in zip(weights(with_it), weights(without), strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("criterion", ["query_ctc", "label_smoothed_cross_entropy"])
    def test_validation_does_not_count_them(self, make_trainer: Callable, criterion: str) -> None:
        from fairseq.logging import metrics

        trainer = make_trainer(criterion)
        trainer.task.load_dataset("valid")
        dataset = trainer.task.dataset("valid")
        trainer.reset_dummy_batch(dataset.collater([dataset[5]]))
        found = []
        for batches in ([(0, 1), (2,)], [(0, 1), (), (2,), ()]):
            with metrics.aggregate(new_root=True) as logged:
                for rows in batches:
                    trainer.valid_step(dataset.collater([dataset[row] for row in rows]))
            found.append({key: logged.get_smoothed_values()[key] for key in ("loss", "cider")})
        assert found[0] == found[1]

    @pytest.mark.parametrize("criterion", ["query_ctc", "label_smoothed_cross_entropy"])
    def test_an_update_of_nothing_else(self, make_trainer: Callable, criterion: str) -> None:
        trainer = make_trainer(criterion)
        trainer.reset_dummy_batch(batch(trainer, 5, 6))
        before = weights(trainer)
        assert trainer.train_step([{}])["loss"] == 0
        assert same(weights(trainer), before)


def test_a_share_of_the_rows_is_told(make_trainer: Callable, caplog: pytest.LogCaptureFixture) -> None:
    """fairseq-generate decodes one batch in so many as the machine has GPUs, unless told otherwise."""
    task = make_trainer("query_ctc").task
    with caplog.at_level(logging.WARNING, "narvl"):
        whole = task.get_batch_iterator(task.dataset("train"), max_sentences=8, disable_iterator_cache=True)
        assert not warnings(caplog)
        share = task.get_batch_iterator(task.dataset("train"), max_sentences=8, num_shards=4, shard_id=0)
    assert (len(whole), len(share)) == (25, 7)
    [message] = warnings(caplog)
    assert message.startswith("--distributed-world-size 4 --distributed-rank 0: one batch in 4 is decoded")


def test_workers_end_with_their_epoch(make_trainer: Callable) -> None:
    """Else those of a training's first hundred epochs are all there in its hundred-and-first."""
    task = make_trainer("query_ctc").task
    before = {child.pid for child in multiprocessing.active_children()}

    def new() -> set[int | None]:
        return {child.pid for child in multiprocessing.active_children()} - before

    iterator = task.get_batch_iterator(task.dataset("train"), max_sentences=16, num_workers=2, data_buffer_size=10)
    batches = iter(iterator.next_epoch_itr(shuffle=True))
    next(batches)
    assert len(new()) == 2
    assert sum(1 for _ in batches) == 12
    end = time.monotonic() + 120
    while new():  # a thread ends them
        assert time.monotonic() < end, "they stay"
        time.sleep(0.05)


def test_a_collection_writes_to_nothing_that_workers_share(make_trainer: Callable) -> None:
    task = make_trainer("query_ctc").task
    gc.unfreeze()
    objects = len(gc.get_objects())
    task.get_batch_iterator(task.dataset("train"), max_sentences=16)
    assert gc.get_freeze_count() > objects / 2 > 10 * len(gc.get_objects())
    # Frozen objects are still freed by their reference counts, so that counting them again would tell nothing.
    left_behind = [task]
    task.get_batch_iterator(task.dataset("train"), max_sentences=16)
    assert any(each is left_behind for each in gc.get_objects()), "what an epoch leaves behind is to be collected"

"""Averaged weights: kept by fairseq's trainer, taken out by ``narvl ema``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from narvl.averaging import averaged_weights, write_averaged
from narvl.cli import main
from narvl.errors import DataError, UsageError


def checkpoint(**extra: Any) -> dict[str, Any]:
    weights = {"w": torch.tensor([1.0, 2.0]), "bn.num_batches_tracked": torch.tensor(7)}
    return {
        "model": weights,
        "extra_state": {"train_iterator": {"epoch": 2}, **extra},
        "last_optimizer_state": {"m": 1},
    }


AVERAGE = {"w": torch.tensor([0.5, 1.0]), "bn.num_batches_tracked": torch.tensor(3)}


def test_the_weights_are_the_average_and_counters_the_models() -> None:
    averaged = averaged_weights(checkpoint(ema=AVERAGE))
    assert averaged["w"].tolist() == [0.5, 1.0]
    assert averaged["bn.num_batches_tracked"] == 7


def test_full_precision_is_taken_where_there_is_one() -> None:
    precise = {**AVERAGE, "w": torch.tensor([0.51, 1.01])}
    assert averaged_weights(checkpoint(ema=AVERAGE, ema_fp32_params=precise))["w"] is precise["w"]
    assert averaged_weights(checkpoint(ema=AVERAGE, ema_fp32_params={}))["w"] is AVERAGE["w"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "no averaged weights"),
        ({"ema": {}}, "no averaged weights"),
        ({"ema": torch.zeros(3)}, "no averaged weights"),
        ({"ema": {"w": None}}, "no averaged weights"),
        ({"ema": {"w": torch.zeros(3), "bn.num_batches_tracked": torch.tensor(0)}}, "do not fit its weights: w"),
        ({"ema": {"w": torch.zeros(2)}}, "do not fit its weights: bn.num_batches_tracked"),
    ],
)
def test_a_checkpoint_without_fitting_averages_is_refused(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        averaged_weights(checkpoint(**extra))


@pytest.mark.parametrize("change", [{"model": None}, {"model": [1]}, {"model": {"w": 1.0}}, {"extra_state": [AVERAGE]}])
def test_values_of_a_strangers_making_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no averaged weights"):
        averaged_weights({**checkpoint(ema=AVERAGE), **change})


def test_the_written_checkpoint_has_no_optimizer_and_no_averages(tmp_path: Path) -> None:
    torch.save(checkpoint(ema=AVERAGE), tmp_path / "best.pt")
    assert write_averaged(tmp_path / "best.pt", tmp_path / "new" / "averaged.pt") == 1
    written = torch.load(tmp_path / "new" / "averaged.pt", weights_only=True)
    assert written.keys() == {"model", "extra_state"}
    assert written["extra_state"] == {"train_iterator": {"epoch": 2}}
    assert written["model"]["w"].tolist() == [0.5, 1.0]


def test_the_command_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(checkpoint(), tmp_path / "best.pt")
    assert main(["ema", str(tmp_path / "best.pt"), str(tmp_path / "out.pt")]) == 2
    assert "best.pt: no averaged weights in it. Train with --store-ema" in capsys.readouterr().err
    assert main(["ema", str(tmp_path / "absent.pt"), str(tmp_path / "out.pt")]) == 2
    assert "absent.pt: no such file" in capsys.readouterr().err
    with pytest.raises(UsageError, match="the checkpoint itself"):
        write_averaged(tmp_path / "best.pt", tmp_path / "best.pt")


@pytest.mark.parametrize("half", [False, True])
def test_fairseq_averages_a_model_with_batch_norm(scenes: Path, build: Callable[..., Any], half: bool) -> None:
    """fairseq multiplied batch norm's integer counters by the decay, and stopped at the first update."""
    from fairseq.models.ema import build_ema

    _, model, _ = build(scenes, "narvl_nano", "--patch-image-size", "64", "--code-dict-size", "0", "--num-bins", "0")
    if half:
        model.half()
    config = Namespace(ema_decay=0.75, ema_fp32=True, ema_seed_model=None, ema_start_update=0, ema_update_freq=1)
    ema = build_ema(model, config, None)
    name, parameter = "encoder.layers.0.fc1.weight", model.encoder.layers[0].fc1.weight
    expected = parameter.detach().float().clone()
    counter = next(name for name in model.state_dict() if name.endswith("num_batches_tracked"))
    for update in (1, 2, 3):
        with torch.no_grad():
            parameter += 0.01 * update
        model.state_dict()[counter].add_(1)
        expected = 0.75 * expected + 0.25 * parameter.detach().float()
        ema.step(model, update)
    torch.testing.assert_close(ema.fp32_params[name], expected)
    assert ema.get_model().state_dict()[counter] == 3


def test_a_checkpoint_without_averages_starts_them_from_the_loaded_weights(
    scenes: Path, build: Callable[..., Any], tmp_path: Path
) -> None:
    """fairseq's trainer, given --store-ema, read weights that it had deleted."""
    from fairseq import checkpoint_utils
    from fairseq.models.ema import build_ema

    _, model, _ = build(scenes, "narvl_nano", "--patch-image-size", "64", "--code-dict-size", "0", "--num-bins", "0")
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}]
    torch.save({**checkpoint(), "optimizer_history": history, "args": None, "cfg": None}, tmp_path / "ofa.pt")
    averages = checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "ofa.pt"))["extra_state"]["ema"]
    config = Namespace(ema_decay=0.75, ema_fp32=True, ema_seed_model=None, ema_start_update=0, ema_update_freq=1)
    ema = build_ema(model, config, None)
    ema.restore(averages)
    for name, tensor in model.state_dict().items():
        assert torch.equal(ema.get_model().state_dict()[name], tensor)

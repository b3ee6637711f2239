"""A checkpoint whose settings and weights are not of one model is refused before that model takes any memory."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils

from narvl.errors import UsageError
from narvl.models._sizes import check_sizes

Build = Callable[..., tuple[Any, Any, Any]]
FLAGS = ("--patch-image-size", "64", "--num-bins", "9", "--code-dict-size", "7")


@pytest.fixture(scope="module")
def weights(scenes: Path, build: Build) -> dict[str, torch.Tensor]:
    return build(scenes, "narvl_nano", *FLAGS)[1].state_dict()


@pytest.fixture()
def state(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    model = {"_name": "narvl_nano", "embed_dim": 128, "ffn_embed_dim": 512, "attention_heads": 4, "encoder_layers": 2}
    model |= {"decoder_layers": 2, "resnet_blocks": [1, 1, 1], "resnet_width": 32, "max_source_positions": 1024}
    task = {"_name": "captioning", "num_bins": 9, "code_dict_size": 7}
    return {"cfg": {"model": model, "task": task}, "model": dict(weights)}


def test_a_sound_one_passes(state: dict[str, Any]) -> None:
    check_sizes(state)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("embed_dim", 10**6), ("ffn_embed_dim", 10**9), ("attention_heads", 10**9), ("encoder_layers", 10**9)),
        *(("decoder_layers", 10**9), ("decoder_layers", 0), ("resnet_blocks", [1, 1, 10**9]), ("resnet_blocks", "x")),
        *(("resnet_width", 10**6), ("max_source_positions", 10**12), ("max_target_positions", None)),
    ],
)
def test_a_setting_of_another_size(state: dict[str, Any], name: str, value: Any) -> None:
    state["cfg"]["model"][name] = value
    with pytest.raises(UsageError, match="checkpoint: its settings say .*, its weights .* It is damaged") as error:
        check_sizes(state)
    assert f"{name} {value}" in str(error.value)


@pytest.mark.parametrize("name", ["attention_heads", "resnet_blocks"])
@pytest.mark.parametrize("value", [torch.zeros(1).expand(100, 100), torch.tensor(4)])
def test_a_setting_that_is_a_tensor_is_not_written_out(state: dict[str, Any], name: str, value: Any) -> None:
    """One that claims a million rows would take minutes."""
    state["cfg"]["model"][name] = value
    with pytest.raises(UsageError, match=f"checkpoint: its settings say {name} Tensor, its weights "):
        check_sizes(state)


@pytest.mark.parametrize("name", ["num_bins", "code_dict_size"])
def test_a_vocabulary_of_another_size(state: dict[str, Any], name: str) -> None:
    state["cfg"]["task"][name] = 10**9
    with pytest.raises(UsageError, match="image codes and bins"):
        check_sizes(state)


@pytest.mark.parametrize(
    "weight",
    [
        None,
        [1.0],
        torch.zeros(1).expand(10**6, 10**6),
        torch.empty(4, 4, device="meta"),
        torch.zeros(2, 2).to_sparse(),
    ],
)
def test_a_weight_that_is_not_stored(state: dict[str, Any], weight: Any) -> None:
    state["model"]["encoder.layer_norm.weight"] = weight
    with pytest.raises(UsageError, match="'encoder.layer_norm.weight' claims more numbers than are stored"):
        check_sizes(state)


@pytest.mark.parametrize(
    "cfg",
    [None, {}, {"model": None}, {"model": Namespace(arch="other", embed_dim=5)}, {"model": {"_name": "bart_base"}}],
)
def test_other_models_are_not_looked_at(state: dict[str, Any], cfg: Any) -> None:
    check_sizes({**state, "cfg": cfg})


def test_every_command_that_loads_a_checkpoint_asks(state: dict[str, Any], tmp_path: Path) -> None:
    state["cfg"]["model"]["embed_dim"] = 10**6
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}]
    rest = {"args": None, "optimizer_history": history, "extra_state": {"train_iterator": {"epoch": 1}}}
    torch.save({**state, **rest}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="its settings say embed_dim 1000000, its weights 128"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "checkpoint.pt"))

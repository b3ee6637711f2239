"""A checkpoint as OFA's authors publish them starts a parallel model: their names, their file's layout."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

RESTORE = ["--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler", "--restore-file"]
#: One update that changes nothing, so that the weights that are saved are those that were loaded.
STAND_STILL = ["--optimizer", "sgd", "--lr", 0, "--batch-norm", "frozen", "--max-update", 1, "--disable-validation"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


OFA = argparse.Namespace(
    arch="ofa_base", task="caption", criterion="adjust_label_smoothed_cross_entropy", resnet_type=1
)
#: OFA's settings, as fairseq stored them when a command line was all, and later.
SETTINGS = {
    "args": {"args": OFA, "cfg": None},
    "cfg": {"args": None, "cfg": {"common": {"seed": 7}, "task": {"_name": "caption"}, "model": OFA, "criterion": OFA}},
}


def published(model: dict[str, torch.Tensor], settings: str = "args") -> dict[str, Any]:
    """A state dict in the file that OFA's fairseq writes."""
    return {
        **SETTINGS[settings],
        "model": model,
        "optimizer_history": [
            {
                "criterion_name": "AdjustLabelSmoothedCrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": None},
                "num_updates": 23500,
            }
        ],
        "extra_state": {
            "train_iterator": {"version": 2, "epoch": 6, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": 1.4,
            "best": 1.4,
        },
        "last_optimizer_state": None,
    }


def reference_names(own: dict[str, torch.Tensor], layers: int, width: int, heads: int) -> dict[str, torch.Tensor]:
    """Our state dict of ``ofa``, with what the reference's has besides."""
    table = own["encoder.embed_tokens.weight"]
    more = {"encoder.version": torch.tensor([3.0]), "decoder.version": torch.tensor([3.0])}
    more |= {f"decoder.{name}.weight": table for name in ("embed_tokens", "output_projection")}
    for side in ("encoder", "decoder"):
        more[f"{side}.token_rp_bucket"] = torch.zeros(9, 9, dtype=torch.long)
        more[f"{side}.image_rp_bucket"] = torch.zeros(9, 9, dtype=torch.long)
    more["decoder.image_position_idx"] = torch.zeros(9, 9, dtype=torch.long)
    more["decoder.embed_image_positions.weight"] = torch.ones(9, width)
    more |= {f"decoder.image_rel_pos_table_list.{layer}.weight": torch.ones(9, heads) for layer in range(layers)}
    for norm in ("image_pos_ln", "code_layernorm_embedding"):
        more |= {f"decoder.{norm}.{name}": torch.ones(width) for name in ("weight", "bias")}
    return {**own, **more}


@pytest.mark.parametrize(
    ("settings", "how"), [("args", RESTORE), ("cfg", ["--finetune-from-model"])], ids=["args-restore", "cfg-finetune"]
)
def test_a_published_file_starts_a_parallel_model(
    settings: str,
    how: list[str],
    quick: Callable,
    build: Callable,
    rows: list,
    make_data: Callable,
    train_flags: list,
    tmp_path: Path,
) -> None:
    data = make_data(tmp_path / "data", train=rows[:4])
    _, ofa, _ = build(data, "ofa_nano", "--code-dict-size", "0", "--num-bins", "64")
    own = {name: tensor.clone() for name, tensor in ofa.state_dict().items()}
    torch.save(published(reference_names(own, layers=2, width=128, heads=4), settings), tmp_path / "ofa.pt")

    flags = ["--arch", "narvl_nano", "--num-queries", 18, "--criterion", "query_ctc", "--batch-size", 4]
    done = quick(
        "fairseq-train", data, *train_flags, *flags, *STAND_STILL, "--save-dir", tmp_path, *how, tmp_path / "ofa.pt"
    )
    assert "added: decoder.query_embed.weight (18, 128), decoder.blank_embed.weight (1, 128)" in done.out
    (record,) = done.records("train_inner")
    assert float(record["loss"]) > 0
    state = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert state["optimizer_history"][-1]["num_updates"] == 1
    saved = state["model"]
    assert saved.keys() - own.keys() == {"decoder.query_embed.weight", "decoder.blank_embed.weight"}
    for name, tensor in own.items():
        assert torch.equal(saved[name], tensor), name


@pytest.mark.slow
def test_the_real_vocabulary(
    shared: Path, run: Callable, rows: list, make_data: Callable, train_flags: list, tmp_path: Path
) -> None:
    keys = json.loads((shared / "golden" / "keys_ofa_tiny.json").read_text())["state_dict"]
    torch.manual_seed(0)
    state = {}
    for name, entry in keys.items():
        dtype = getattr(torch, entry["dtype"])
        if entry["tied_to"]:
            state[name] = state[entry["tied_to"]]
        elif name.endswith("running_var"):
            state[name] = torch.ones(entry["shape"])
        elif dtype.is_floating_point:
            state[name] = torch.randn(entry["shape"], dtype=dtype) * 0.02
        else:
            state[name] = torch.zeros(entry["shape"], dtype=dtype)
    assert state["encoder.embed_tokens.weight"].shape == (59457, 256)
    torch.save(published(state), tmp_path / "ofa_tiny.pt")

    data = make_data(tmp_path / "data", train=rows[:4])
    flags = ["--arch", "narvl_tiny", "--criterion", "query_ctc", "--batch-size", 4, "--save-dir", tmp_path / "run"]
    vocabulary = ["--bpe-dir", shared / "data" / "gpt2-bpe", "--code-dict-size", 8192, "--num-bins", 1000]
    start = [*RESTORE, tmp_path / "ofa_tiny.pt"]
    done = run("fairseq-train", data, *train_flags, *flags, *vocabulary, *STAND_STILL, *start)
    assert "decoder.blank_embed.weight (1, 256)" in done.out
    saved = torch.load(tmp_path / "run" / "checkpoint_last.pt", weights_only=True)["model"]
    for name in saved.keys() & state.keys():
        assert torch.equal(saved[name], state[name]), name
    assert len(saved.keys() & state.keys()) > 200

"""fairseq's half-precision trainings and activation checkpointing, by the real command on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from narvl.scenes.write import Plan, write_scenes

ROOT = Path(__file__).resolve().parents[2]
TASK = ("--user-dir", ROOT / "narvl", "--task", "captioning", "--patch-image-size", 64, "--code-dict-size", 0)
ADAM = ("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--lr", 1e-3, "--clip-norm", 1.0)
SHORT = ("--num-bins", 0, "--batch-size", 8, "--max-update", 4, "--num-workers", 0, "--cpu", "--disable-validation")
LOGS = ("--log-format", "json", "--log-interval", 1, "--no-epoch-checkpoints", "--seed", 1)
MODELS = {
    "narvl": ("--arch", "narvl_nano", "--criterion", "query_ctc", "--num-queries", 24),
    "ofa": ("--arch", "ofa_nano", "--criterion", "label_smoothed_cross_entropy"),
}
# --bf16 is not here: fairseq's trainer knows it on GPUs and TPUs alone.
PRECISIONS = ("--fp16", "--memory-efficient-fp16")


def losses(quick: Callable, folder: Path, name: str, model: str, *flags: object) -> list[float]:
    data = folder / "data"
    if not data.exists():
        write_scenes(Plan("captioning", scenes=(16, 2, 2), seed=1), data)
    words = [*TASK, *MODELS[model], *ADAM, *SHORT, *LOGS, "--save-dir", folder / name, *flags]
    return [float(record["loss"]) for record in quick("fairseq-train", data, *words).records("train_inner")]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_half_precision_trains_as_single_does(precision: str, model: str, quick: Callable, tmp_path: Path) -> None:
    single = losses(quick, tmp_path, "single", model)
    half = losses(quick, tmp_path, "half", model, precision, "--fp16-init-scale", 4, "--fp16-no-flatten-grads")
    assert len(single) == len(half) == 4 and all(map(math.isfinite, half))
    assert half == pytest.approx(single, rel=0.05)
    weights = torch.load(tmp_path / "half" / "checkpoint_last.pt", weights_only=False)["model"]
    assert all(weight.isfinite().all() for weight in weights.values() if weight.is_floating_point())


def test_checkpointed_activations_train_alike(quick: Callable, tmp_path: Path) -> None:
    kept = losses(quick, tmp_path, "kept", "narvl")
    assert losses(quick, tmp_path, "anew", "narvl", "--checkpoint-activations") == pytest.approx(kept, rel=1e-4)

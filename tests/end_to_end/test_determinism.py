"""The same seed on the same machine gives the same weights, bit by bit, however many workers read the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

UPDATES = 8  # of 5 an epoch
MODELS = {
    "narvl": ["--arch", "narvl_nano", "--criterion", "query_ctc"],
    "ofa": ["--arch", "ofa_nano", "--criterion", "label_smoothed_cross_entropy"],
}


@pytest.mark.parametrize("model", ["narvl", pytest.param("ofa", marks=pytest.mark.slow)])
def test_weights_depend_on_the_seed_and_not_on_the_workers(
    quick: Callable, rows: list, make_data: Callable, train_flags: list, adam: list, tmp_path: Path, model: str
) -> None:
    data = make_data(tmp_path / "data", train=rows[:18], valid=rows[18:22])

    def train(name: str, *flags: object) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Losses of all updates, and the last weights."""
        random = ["--dropout", 0.1, "--decoder-drop-path-rate", 0.1]
        length = ["--batch-size", 4, "--max-update", UPDATES, "--save-dir", tmp_path / name]
        done = quick("fairseq-train", data, *train_flags, *adam, *MODELS[model], *random, *length, *flags)
        state = torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True)
        return [record["loss"] for record in done.records("train_inner")], state["model"]

    losses, weights = train("first")
    assert len(losses) == UPDATES
    for name, flags in {"again": [], "workers": ["--num-workers", 2]}.items():
        same_losses, same_weights = train(name, *flags)
        assert same_losses == losses, name
        assert [key for key in weights if not torch.equal(weights[key], same_weights[key])] == [], name
    other_losses, other_weights = train("seed", "--seed", 2)
    assert other_losses != losses
    assert not torch.equal(weights["encoder.layers.0.fc1.weight"], other_weights["encoder.layers.0.fc1.weight"])


def test_the_order_of_rows_does_not_depend_on_the_workers(scenes: Path, build: Callable) -> None:
    task, _, _ = build(scenes, "narvl_nano", "--patch-image-size", "32")
    task.load_dataset("train")

    def order(workers: int, epoch: int, seed: int = 1) -> list[list[int]]:
        options: dict[str, Any] = {"max_sentences": 16, "epoch": epoch, "seed": seed, "data_buffer_size": 10}
        iterator = task.get_batch_iterator(task.dataset("train"), num_workers=workers, **options)
        return [batch["id"].tolist() for batch in iterator.next_epoch_itr(shuffle=True)]

    first = [order(0, epoch) for epoch in (1, 2)]
    assert [order(2, epoch) for epoch in (1, 2)] == first
    assert order(3, 1) == first[0]
    assert first[0] != first[1] and order(0, 1, seed=2) != first[0]
    for batches in first:
        assert sorted(row for batch in batches for row in batch) == list(range(200)), "each row once"

"""No row is lost at any batch size, by any of fairseq's commands; a training that did not happen is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

ROWS = 11
MODEL = ["--arch", "narvl_nano", "--criterion", "query_ctc"]
BATCHES = {1: 11, 4: 3, 16: 2}  # batch size: how many batches hold all rows


@pytest.fixture(scope="module")
def data(rows: list, make_data: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": rows[:ROWS], "valid": rows[ROWS : 2 * ROWS], "test": rows[:ROWS]}
    return make_data(tmp_path_factory.mktemp("edges") / "data", **splits)


@pytest.fixture(scope="module")
def checkpoint(quick: Callable, data: Path, train_flags: list, adam: list) -> Path:
    length = ["--batch-size", 2, "--max-update", 1, "--disable-validation", "--no-save-optimizer-state"]
    quick("fairseq-train", data, *train_flags, *adam, *MODEL, *length, "--save-dir", data.parent)
    return data.parent / "checkpoint_last.pt"


@pytest.mark.parametrize("size", BATCHES)
def test_training_and_validation_count_each_row_once(
    quick: Callable, data: Path, train_flags: list, adam: list, tmp_path: Path, size: int
) -> None:
    """With fairseq's own --required-batch-size-multiple, 8."""
    length = ["--batch-size", size, "--max-epoch", 1, "--no-save", "--save-dir", tmp_path]
    done = quick("fairseq-train", data, *train_flags, *adam, *MODEL, *length)
    sizes = [int(record["bsz"]) for record in done.records("train_inner")]
    assert sum(sizes) == ROWS and len(sizes) == BATCHES[size]
    [valid] = done.records("valid")
    assert float(valid["valid_bsz"]) == pytest.approx(ROWS / BATCHES[size], abs=0.051)


@pytest.mark.parametrize("skip", [False, True], ids=["sound", "bad rows"])
def test_validation_of_a_checkpoint(
    quick: Callable,
    data: Path,
    checkpoint: Path,
    rows: list,
    make_data: Callable,
    task_flags: list,
    tmp_path: Path,
    skip: bool,
) -> None:
    """fairseq-validate; where all rows of a batch are bad, it is handed an empty one."""
    bad = [[*row[:4], "!"] for row in rows[:3]]
    source = make_data(tmp_path / "data", valid=[*rows[ROWS : ROWS + 3], *bad]) if skip else data
    flags = ["--path", checkpoint, "--valid-subset", "valid", "--batch-size", 3 if skip else 4, "--log-format", "json"]
    done = quick("fairseq-validate", source, *task_flags, *flags, *(["--skip-bad-rows"] if skip else []))
    [record] = done.records("valid")
    assert float(record["valid_loss"]) > 0 and "valid_cider" in record
    assert float(record["valid_bsz"]) == (3 if skip else ROWS)


def test_shares_of_generation_are_all_rows_once(
    quick: Callable, data: Path, checkpoint: Path, task_flags: list, tmp_path: Path
) -> None:
    """Three batches, divided by two."""

    def generate(share: int, shares: int, fails: bool = False) -> Any:
        flags = ["--path", checkpoint, "--batch-size", 4, "--results-path", tmp_path / str(share)]
        flags += ["--distributed-world-size", shares, "--distributed-rank", share]
        return quick("fairseq-generate", data, *task_flags, *flags, fails=fails)

    found = []
    for share in range(2):
        assert f"--distributed-rank {share}: one batch in 2 is decoded here" in generate(share, 2).out
        text = (tmp_path / str(share) / "generate-test.txt").read_text()
        found.append([int(row) for row in re.findall(r"^D-(\d+)\t", text, re.MULTILINE)])
    assert [sorted(rows) for rows in found] == [[0, 1, 2, 3, 8, 9, 10], [4, 5, 6, 7]]
    refused = generate(3, 8, fails=True)
    assert "--distributed-world-size 8: there are 3 batches" in refused.last_line


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="with a GPU, training would happen")
@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--distributed-world-size", 2, "--distributed-init-method", "tcp://127.0.0.1:9"], "--distributed-no-spawn"),
        (["--distributed-world-size", 2], "0 available devices"),
        (["--write-checkpoints-asynchronously"], "pip install iopath"),
        (["--train-subset", "none"], "none.tsv"),
        (["--valid-subset", "none"], "none.tsv"),
    ],
    ids=lambda value: value[-2] if isinstance(value, list) and len(value) > 1 else None,
)
def test_a_training_that_does_not_happen_is_an_error(
    quick: Callable, data: Path, train_flags: list, adam: list, tmp_path: Path, flags: list, reason: str
) -> None:
    length = ["--batch-size", 4, "--max-update", 1, "--save-dir", tmp_path / "run"]
    done = quick("fairseq-train", data, *train_flags, *adam, *MODEL, *length, *flags, fails=True)
    assert reason in done.last_line
    assert not list(tmp_path.glob("run/*.pt"))


def test_the_data_folder_must_be_one(
    quick: Callable, data: Path, train_flags: list, adam: list, tmp_path: Path
) -> None:
    length = ["--batch-size", 4, "--max-update", 1, "--bpe-dir", data, "--save-dir", tmp_path / "run"]
    for wrong in (tmp_path / "none", data / "train.tsv"):
        done = quick("fairseq-train", wrong, *train_flags, *adam, *MODEL, *length, fails=True)
        assert str(wrong) in done.last_line

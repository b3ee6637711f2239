"""Two processes with batch B train as one process with batch 2B does.

fairseq deals batches out in turn, so that the two processes together see, at each update, the rows that a batch of
twice the size holds, provided that neither run shuffles its batches (``--curriculum``); rows are shuffled all the same,
by the same seed. Plain gradient descent keeps rounding errors small in the weights, which adam would blow up.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROWS = 20  # batches of 4: five, so that the second process has none at an epoch's last update
BATCH = 4
UPDATES = 6  # two epochs


@pytest.mark.parametrize(
    ("arch", "criterion"),
    [
        ("narvl_nano", ["query_ctc", "--label-smoothing", 0.1]),
        pytest.param("ofa_nano", ["label_smoothed_cross_entropy", "--label-smoothing", 0.1], marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one_with_twice_the_batch(
    run: Callable,
    environment: dict,
    rows: list,
    make_data: Callable,
    train_flags: list,
    tmp_path: Path,
    arch: str,
    criterion: list,
) -> None:
    data = make_data(tmp_path / "data", train=rows[:ROWS], valid=rows[ROWS : ROWS + 3])

    def command(save_dir: str, batch: int, *flags: object) -> list[str]:
        model = ["--arch", arch, "--dropout", 0, "--batch-norm", "frozen", "--criterion", *criterion]
        length = ["--batch-size", batch, "--required-batch-size-multiple", 1, "--max-update", UPDATES]
        order = ["--curriculum", UPDATES]
        descent = ["--optimizer", "sgd", "--lr", 0.005]
        words = ["fairseq-train", data, *train_flags, *model, *length, *order, *descent]
        return [str(word) for word in [*words, "--save-dir", tmp_path / save_dir, *flags]]

    one = run(*command("one", 2 * BATCH))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        cluster = ["--distributed-world-size", 2, "--distributed-rank", rank, "--distributed-no-spawn"]
        cluster += ["--distributed-init-method", f"tcp://127.0.0.1:{port}"]
        cluster += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
        argv = command("two", BATCH, *cluster)
        log = (tmp_path / f"rank{rank}.log").open("w")
        processes.append(
            subprocess.Popen(argv, env={**environment, "LOCAL_RANK": "0"}, stdout=log, stderr=subprocess.STDOUT)
        )
    try:
        statuses = [process.wait(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(tmp_path / f"rank{rank}.log").read_text() for rank in range(2)]
    assert statuses == [0, 0], logs[0][-3000:] + logs[1][-3000:]

    two = type(one)(0, logs[0], "")
    alone, together = one.records("train_inner"), two.records("train_inner")
    assert [record["bsz"] for record in alone] == ["8", "8", "4"] * 2, "the last update of an epoch is a smaller one"
    assert len(together) == UPDATES
    for update, (left, right) in enumerate(zip(alone, together, strict=True), start=1):
        assert left["bsz"] == right["bsz"], update
        for value in ("loss", "nll_loss", "gnorm"):
            assert float(right[value]) == pytest.approx(float(left[value]), abs=2e-3), (update, value)
    valid = [finished.records("valid")[-1] for finished in (one, two)]
    for value in ("valid_loss", "valid_cider"):
        assert float(valid[1][value]) == pytest.approx(float(valid[0][value]), abs=2e-3)

    weights = [
        torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True)["model"] for name in ("one", "two")
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-5, msg=name)

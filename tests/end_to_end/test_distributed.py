"""Several processes with batch B train as one process with as many times the batch does.

fairseq deals batches out in turn, so that the processes together see, at each update, the rows that one larger batch
holds, provided that no run shuffles its batches (``--curriculum``); rows are shuffled all the same, by the same seed.
Plain gradient descent keeps rounding errors small in the weights, which adam would blow up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

BATCH = 4
ROWS = 28  # seven batches: at an epoch's last update some processes have fewer than others, or none
VALID_ROWS = 11  # three batches, the last a smaller one
FREQUENCY = 2  # batches that a process takes for an update
UPDATES = 4
OFA = ("ofa_nano", ["label_smoothed_cross_entropy", "--label-smoothing", 0.1])
NARVL = ("narvl_nano", ["query_ctc", "--label-smoothing", 0.1])


@pytest.mark.parametrize(
    ("model", "processes", "samples"),
    [
        (NARVL, 2, ["16", "12"]),
        pytest.param(NARVL, 3, ["24", "4"], marks=pytest.mark.slow),
        pytest.param(OFA, 2, ["16", "12"], marks=pytest.mark.slow),
        pytest.param(OFA, 3, ["24", "4"], marks=pytest.mark.slow),
    ],
    ids=["narvl-2", "narvl-3", "ofa-2", "ofa-3"],
)
def test_processes_train_as_one_with_a_larger_batch(
    quick: Callable,
    start_ranks: Callable,
    rows: list,
    make_data: Callable,
    train_flags: list,
    tmp_path: Path,
    model: tuple[str, list],
    processes: int,
    samples: list[str],
) -> None:
    data = make_data(tmp_path / "data", train=rows[:ROWS], valid=rows[ROWS : ROWS + VALID_ROWS])
    arch, criterion = model

    def command(save_dir: str, batch: int, *flags: object) -> list[str]:
        network = ["--arch", arch, "--dropout", 0, "--batch-norm", "frozen", "--criterion", *criterion]
        length = ["--batch-size", batch, "--required-batch-size-multiple", 1, "--max-update", UPDATES]
        order = ["--curriculum", UPDATES]
        descent = ["--optimizer", "sgd", "--lr", 0.005]
        words = ["fairseq-train", data, *train_flags, *network, *length, *order, *descent]
        return [str(word) for word in [*words, "--save-dir", tmp_path / save_dir, *flags]]

    ranks = start_ranks(processes, command("several", BATCH, "--update-freq", FREQUENCY))
    one = quick(*command("one", processes * FREQUENCY * BATCH, "--batch-size-valid", processes * BATCH))
    statuses = [rank.wait(timeout=240) for rank in ranks]
    logs = [(tmp_path / f"rank{rank}.log").read_text() for rank in range(processes)]
    assert statuses == [0] * processes, "".join(log[-3000:] for log in logs)

    several = type(one)(0, logs[0], "")
    alone, together = one.records("train_inner"), several.records("train_inner")
    assert [record["bsz"] for record in alone] == samples * (UPDATES // 2)
    assert len(together) == UPDATES
    for update, (left, right) in enumerate(zip(alone, together, strict=True), start=1):
        assert left["bsz"] == right["bsz"], update
        for value in ("loss", "nll_loss", "gnorm"):
            assert float(right[value]) == pytest.approx(float(left[value]), abs=2e-3), (update, value)
    valid = [finished.records("valid")[-1] for finished in (one, several)]
    for value in ("valid_loss", "valid_cider", "valid_bsz"):
        assert float(valid[1][value]) == pytest.approx(float(valid[0][value]), abs=2e-3), value

    weights = [
        torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True)["model"] for name in ("one", "several")
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-5, msg=name)

"""A run that is killed and started again by the same command ends where an uninterrupted one does."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

UPDATES = 24
KILL_AFTER = 14  # updates: in the third of five epochs, two updates after a checkpoint


@pytest.mark.parametrize(
    ("arch", "criterion"),
    [
        ("narvl_nano", "query_ctc"),
        pytest.param("ofa_nano", "label_smoothed_cross_entropy", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_to_the_same_end(
    run: Callable,
    environment: dict,
    rows: list,
    make_data: Callable,
    train_flags: list,
    adam: list,
    tmp_path: Path,
    arch: str,
    criterion: str,
) -> None:
    data = make_data(tmp_path / "data", train=rows[:20], valid=rows[20:26])

    def command(save_dir: str) -> list[str]:
        model = ["--arch", arch, "--dropout", 0.1, "--decoder-drop-path-rate", 0.1, "--criterion", criterion]
        length = ["--batch-size", 4, "--required-batch-size-multiple", 1, "--max-update", UPDATES]
        schedule = ["--lr-scheduler", "polynomial_decay", "--warmup-updates", 3, "--total-num-update", UPDATES]
        saving = ["--save-interval-updates", 4, "--keep-interval-updates", 1, "--save-dir", tmp_path / save_dir]
        words = ["fairseq-train", data, *train_flags, *adam, *model, *length, *schedule, *saving, "--num-workers", 1]
        return [str(word) for word in words]

    whole = run(*command("whole"))

    reached = 0
    with subprocess.Popen(command("killed"), env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            found = re.search(r'train_inner.*"num_updates": "(\d+)"', line)
            reached = int(found[1]) if found else reached
            if found and reached == KILL_AFTER:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and reached >= KILL_AFTER
    assert (tmp_path / "killed" / "checkpoint_last.pt").is_file()

    resumed = run(*command("killed"))
    first = int(resumed.records("train_inner")[0]["num_updates"])
    assert 1 < first <= reached + 1, "it went on from a checkpoint, not from the beginning"
    later = [record for record in whole.records("train_inner") if int(record["num_updates"]) >= first]
    assert [losses(record) for record in resumed.records("train_inner")] == [losses(record) for record in later]

    ends = [torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True) for name in ("whole", "killed")]
    valid = [run.records("valid")[-1] for run in (whole, resumed)]
    assert [record["valid_num_updates"] for record in valid] == [str(UPDATES)] * 2
    assert float(valid[1]["valid_loss"]) == pytest.approx(float(valid[0]["valid_loss"]), abs=1e-4)
    assert valid[0]["valid_cider"] == valid[1]["valid_cider"]
    # The logs round to three places. The weights show that nothing hides behind that.
    for name, weights in ends[0]["model"].items():
        torch.testing.assert_close(ends[1]["model"][name], weights, rtol=0, atol=1e-6, msg=name)


def test_patience_is_counted_across_restarts(
    quick: Callable, make_data: Callable, rows: list, train_flags: list, tmp_path: Path
) -> None:
    """Of a learning rate of 0 the first validation is the best; each update is validated."""
    data = make_data(tmp_path / "data", train=rows[:12], valid=rows[12:14])
    model = ["--arch", "narvl_nano", "--criterion", "query_ctc", "--batch-norm", "frozen", "--no-valid-generation"]
    length = ["--optimizer", "sgd", "--lr", 0, "--batch-size", 2, "--required-batch-size-multiple", 1]
    saving = ["--save-interval-updates", 1, "--keep-interval-updates", 1, "--patience", 3]
    command = ["fairseq-train", data, *train_flags, *model, *length, *saving, "--save-dir", tmp_path / "run"]

    def validations(*more: object) -> list[str]:
        found = quick(*command, *more).records("valid")
        assert len({record["valid_loss"] for record in found}) <= 1, "no update may change anything"
        return [record["valid_num_updates"] for record in found]

    assert validations("--max-update", 3) == ["1", "2", "3"]
    assert validations("--max-update", 9) == ["4"], "the third that is no better"
    assert validations("--max-update", 9) == []
    assert validations("--max-update", 9, "--patience", 4) == ["5"]
    assert validations("--max-update", 6, "--reset-meters") == ["6"]


def test_a_folder_that_another_run_has_used_is_named(
    quick: Callable, make_data: Callable, rows: list, train_flags: list, tmp_path: Path
) -> None:
    data, moved = (make_data(tmp_path / name, train=rows[:4], valid=rows[4:6]) for name in ("data", "moved"))
    length = ["--batch-size", 4, "--optimizer", "sgd", "--lr", 0.001, "--save-dir", tmp_path / "run"]
    parallel = ["--arch", "narvl_nano", "--criterion", "query_ctc"]
    autoregressive = ["--arch", "ofa_nano", "--criterion", "label_smoothed_cross_entropy"]
    quick("fairseq-train", data, *train_flags, *length, *parallel, "--max-update", 1)
    refused = quick("fairseq-train", data, *train_flags, *length, *autoregressive, "--max-update", 2, fails=True)
    said = "the training there is of --arch narvl_nano, and this one of ofa_nano. Give another folder"
    assert f"--save-dir {tmp_path / 'run'}: {said}" in refused.last_line
    goes_on = quick("fairseq-train", moved, *train_flags, *length, *parallel, "--max-update", 2)
    assert f"begun with the data in {data}, this goes on with {moved}" in goes_on.out + goes_on.err


def test_a_run_killed_while_it_copies_a_checkpoint_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairseq.file_io import PathManager

    import narvl  # noqa: F401

    best, last = tmp_path / "checkpoint_best.pt", tmp_path / "checkpoint_last.pt"
    best.write_bytes(b"new, whole")
    last.write_bytes(b"old")

    def killed(source: str, target: str) -> None:
        Path(target).write_bytes(b"new, ")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copyfile", killed)
        PathManager.copy(str(best), str(last), overwrite=True)
    assert last.read_bytes() == b"old"
    assert PathManager.copy(str(best), str(last), overwrite=True)
    assert last.read_bytes() == b"new, whole"
    assert sorted(tmp_path.iterdir()) == [best, last]


def losses(record: dict[str, str]) -> tuple[str, str, str]:
    return record["num_updates"], record["loss"], record["lr"]

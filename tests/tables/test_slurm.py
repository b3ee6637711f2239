"""Jobs are handed to Slurm once, each after what it needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from narvl.errors import UsageError
from narvl.tables.job import Job
from narvl.tables.runner import Runner
from narvl.tables.slurm import submit

COMMAND = ["narvl", "tables", "--job"]


def job(name: str, *needs: str, kind: str = "train") -> Job:
    return Job(name, kind, (("true",),), needs, 1)


class Slurm:
    """Commands of Slurm's names: jobs are numbered from 1, and those in the file ``queue`` wait."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.calls, self.queue = folder / "calls", folder / "queue"
        self.calls.touch()
        self.write(folder, "sbatch", f'printf "%s\\n" "$*" >> {self.calls}\nwc -l < {self.calls}')
        # As squeue does: an error for numbers that it does not know.
        self.write(folder, "squeue", f'grep -qx "${{3#--jobs=}}" {self.queue} && echo PENDING')
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    @staticmethod
    def write(folder: Path, name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(tmp_path / "bin", monkeypatch)


def test_each_job_comes_after_what_it_needs(tmp_path: Path, slurm: Slurm) -> None:
    jobs = [job("a"), job("b", "a"), job("c")]
    Runner(tmp_path / "runs").run(jobs[2:])
    assert submit(jobs, tmp_path / "runs", COMMAND, ["--gpus-per-node=8"]) == {"a": "1", "b": "2"}
    first, second = slurm.calls.read_text().splitlines()
    assert "--dependency" not in first and "--gpus-per-node=8" in first and "--wrap=narvl tables --job a" in first
    assert "--dependency=afterok:1 --kill-on-invalid-dep=yes" in second


def test_what_waits_is_not_submitted_again(tmp_path: Path, slurm: Slurm) -> None:
    jobs = [job("a"), job("b", "a")]
    submit(jobs[:1], tmp_path, COMMAND, [])
    slurm.queue.write_text("1\n")
    assert submit(jobs, tmp_path, COMMAND, []) == {"b": "2"}
    assert "--dependency=afterok:1 " in slurm.calls.read_text().splitlines()[1]
    slurm.queue.write_text("")
    assert submit(jobs, tmp_path, COMMAND, []) == {"a": "3", "b": "4"}, "they ended badly, or were cancelled"


def test_timing_has_its_machine_alone_and_kinds_have_options_of_their_own(tmp_path: Path, slurm: Slurm) -> None:
    jobs = [job("a", kind="data"), job("b"), job("c", kind="time")]
    submit(jobs, tmp_path, COMMAND, ["train:--gpus-per-node=8", "--comment=train:x", "time:--gres=gpu:1"])
    data, train, timing = slurm.calls.read_text().splitlines()
    assert all("--comment=train:x" in call for call in (data, train, timing))
    assert ["--gpus-per-node=8" in call for call in (data, train, timing)] == [False, True, False]
    assert ["--exclusive" in call for call in (data, train, timing)] == [False, False, True]
    assert " --gres=gpu:1 " in timing


@pytest.mark.parametrize("option", ["gpus-per-node=8", "trian:--gpus=8", "train:gpus=8", "train", ""])
def test_wrong_options_are_named_before_anything_is_submitted(tmp_path: Path, slurm: Slurm, option: str) -> None:
    with pytest.raises(UsageError, match=rf"--sbatch {option}: give an option of sbatch.* The kinds are data, train"):
        submit([job("a")], tmp_path, COMMAND, [option])
    assert not slurm.calls.read_text()


def test_refusals_and_machines_without_slurm_are_told(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.write(tmp_path / "bin", "sbatch", "echo no such partition >&2; exit 1")
    with pytest.raises(UsageError, match="sbatch refused a: no such partition"):
        submit([job("a")], tmp_path, COMMAND, [])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no sbatch"):
        submit([job("a")], tmp_path, COMMAND, [])

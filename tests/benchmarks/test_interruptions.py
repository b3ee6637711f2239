"""What the interruptions' checks find, on folders made by hand; and one real stop."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import interruptions
from interrupted.distil import Distil
from interrupted.prepare import Prepare
from interrupted.process import Running, wait_until
from interrupted.stops import FULL_DISK, KILL, STOPS, TERMINATE, WORKER
from interrupted.tables import Tables
from interrupted.train import Train


def checker(kind: type) -> Any:
    """A kind of work without its input."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("stop", "status", "lines", "problem"),
    [
        (KILL, -9, [], ""),
        (KILL, 1, [], "ended with 1, not -9"),
        (TERMINATE, -15, [], ""),
        (TERMINATE, 143, [], ""),
        (FULL_DISK, 1, ["OUT/file: full"], ""),
        (FULL_DISK, 1, ["full"], "did not name the file"),
        (WORKER, 1, [], ""),
        (WORKER, -9, [], "died of signal 9 with its worker"),
        (WORKER, None, [], "hung"),
        (WORKER, 0, [], ""),
    ],
)
def test_ends(stop: str, status: int | None, lines: list[str], problem: str) -> None:
    assert interruptions.judge_end(stop, status, False, lines, Path("OUT")) == ([problem] if problem else [])
    assert "left processes behind" in interruptions.judge_end(stop, status, True, lines, Path("OUT"))


NAMES = ("last", "best")


def save(folder: Path, update: int, weight: float, offset: int = 0) -> None:
    state = {
        "model": {"w": torch.tensor([1.0, weight])},
        "optimizer_history": [{"num_updates": update}],
        "extra_state": {
            "train_iterator": {"epoch": 1, "iterations_in_epoch": offset},
            "ema_fp32_params": {"w": torch.tensor([1.0, weight])},
        },
    }
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        torch.save(state, folder / f"checkpoint_{name}.pt")


def test_training(tmp_path: Path) -> None:
    work, out, whole = checker(Train), tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        save(folder, 6, 2.0)
    assert not work.damages(out, whole) and not work.differences(out, whole)
    (out / "checkpoint_best.pt.tmp").write_bytes(b"half")
    assert work.differences(out, whole) == ["left behind: checkpoint_best.pt.tmp"]
    (out / "checkpoint_best.pt.tmp").unlink()
    save(out, 6, 2.00001)
    expected = [f"checkpoint_{name}.pt: {what} differ by 1.0e-05" for name in NAMES for what in ("weights", "averages")]
    assert work.differences(out, whole) == expected
    save(out, 6, 2.0, offset=1)
    assert "another place in the data" in work.differences(out, whole)[0]

    def told(*updates: int) -> list[str]:
        return [f'x | train_inner | {{"num_updates": "{update}"}}' for update in updates]

    assert work.state(out) == 6
    assert not work.repeats(6, out, told(*range(7, 31)))
    for wrong in (range(6, 31), range(8, 31), range(1, 31), range(7, 32), ()):
        assert work.repeats(6, out, told(*wrong))
    os.truncate(out / "checkpoint_last.pt", 500)
    assert work.damages(out, whole) == ["checkpoint_last.pt does not load (RuntimeError)"]


def test_distillation(tmp_path: Path) -> None:
    work = checker(Distil)
    path = tmp_path / "shards" / "0-of-1.txt"
    path.parent.mkdir()

    def row(number: int) -> str:
        return f"S-{number}\tx\nT-{number}\tx\nH-{number}\t-0.5\tx\nD-{number}\t-0.5\tx\nP-{number}\t-0.5\n"

    header = 'narvl distill decode: {"beam": 2}\n'
    path.write_text(header + row(0) + row(1) + row(2)[:12])
    assert not work.damages(tmp_path, tmp_path)
    state = work.state(tmp_path)
    assert state.decode() == header + row(0) + row(1)
    path.write_text(header + "".join(map(row, range(240))))
    assert not work.repeats(state, tmp_path, [])
    path.write_text(header + "".join(map(row, [1, 0, *range(2, 239), 0])))
    assert work.repeats(state, tmp_path, []) == ["240 rows, 239 different", "what was decoded is not kept"]
    assert work.damages(tmp_path, tmp_path) == ["row 0 came back twice"]


def test_preparation(tmp_path: Path) -> None:
    work, out, whole = checker(Prepare), tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        folder.mkdir()
        (folder / "train.tsv").write_text("0\tx\n")
    assert not work.damages(out, whole) and not work.differences(out, whole)
    (out / "train.tsv").write_text("0\tx")
    (out / ".train.tsv.1.partial").touch()
    assert work.damages(out, whole) == ["train.tsv is not whole"]
    assert work.differences(out, whole) == ["left behind: .train.tsv.1.partial", "train.tsv differs"]
    (out / ".prepare").mkdir()
    (out / ".prepare" / "journal.json").write_text('{"splits": {"train": {"done": 205, "complete": false}}}')
    state = work.state(out)
    assert not work.repeats(
        state, out, ["train:  41%|####    | 205/500 [00:00<?, ?image/s]", "train:  99%|# | 499/500 ["]
    )
    assert work.repeats(state, out, ["train:   0%|    | 0/500 [00:00<?, ?image/s]"])
    assert work.repeats(None, out, ["out/.prepare: is not what its journal says; begins anew"])


def test_tables(tmp_path: Path) -> None:
    work = checker(Tables)
    work.begin(tmp_path)
    order = [f"{word}-{name}" for name in "abcdefgh" for word in ("begin", "end")]
    for number, entry in enumerate(order):
        (tmp_path / "order" / f"{number:03d}-{entry}").touch()
    for name in "abcdefgh":
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "job.json").write_text("{}")
        (tmp_path / f"{name}.csv").write_text(name)
    assert not work.damages(tmp_path, tmp_path) and not work.differences(tmp_path, tmp_path)
    state = work.state(tmp_path)
    assert not work.repeats(state, tmp_path, [])
    (tmp_path / "order" / "999-begin-c").touch()
    (tmp_path / "order" / "0000-begin-h").touch()
    assert work.repeats(state, tmp_path, []) == ["c was done again", "h began before g had ended"]
    (tmp_path / "runs" / "a" / "job.json").write_text("{")
    (tmp_path / "b.csv").unlink()
    assert work.damages(tmp_path, tmp_path) == ["a/job.json does not load", "b is recorded but has made nothing"]


WRITER = (
    "import os, time; file = open({0!r}, 'wb', 0); file.write(b'x')\n"
    "while not os.path.exists({0!r} + '.go'): time.sleep(0.01)\n"
    "while True: file.write(b'x' * 100)"
)
PARENT = "import subprocess, sys; sys.exit(subprocess.run(['sleep', '60']).returncode and 3)"


@pytest.mark.parametrize(("stop", "status"), [(KILL, -9), (TERMINATE, -15), (FULL_DISK, 1), (WORKER, 3)])
def test_each_stop_stops(stop: str, status: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = PARENT if stop == WORKER else WRITER.format(str(path))
    running = Running([sys.executable, "-c", script])
    assert wait_until(lambda: running.workers() if stop == WORKER else path.is_file(), running)
    STOPS[stop](running, 900, random.Random(1))
    (tmp_path / "file.go").touch()
    assert running.wait() == (status, False)
    if stop == FULL_DISK:
        assert "File too large" in running.lines[-1]
        assert 225 <= path.stat().st_size < 900


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "interruptions.json"
    flags = ["--kinds", "tables", "--tries", "1", "--out", str(out)]
    assert interruptions.main(flags) == 0
    record = json.loads(out.read_text())
    assert record["provenance"]["seed"] == 1
    assert [(total["stop"], total["tries"], total["failures"]) for total in record["totals"]] == [
        (stop, 1, 0) for stop in STOPS
    ]
    assert str(tmp_path) not in out.read_text()
    before = out.read_text()
    assert interruptions.main(flags) == 0
    assert out.read_text() == before, "what was tried is kept"
    assert "| tables | worker killed" in capsys.readouterr().out


def test_wrong_arguments_name_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert interruptions.main(["--tries", "0"]) == 2
    assert "--tries 0" in capsys.readouterr().err
    (tmp_path / "x.json").write_text("[]")
    assert interruptions.main(["--out", str(tmp_path / "x.json")]) == 2
    assert "x.json: no results of this command" in capsys.readouterr().err

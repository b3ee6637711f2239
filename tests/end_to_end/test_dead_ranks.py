"""A process that dies ends the whole training with an error, soon, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TRAIN = Path(__file__).resolve().parents[2] / "run_scripts" / "train.sh"
SOON = 60  # seconds
SMALL = "--cpu --patch-image-size 64 --code-dict-size 0 --num-bins 64 --num-workers 0 --batch-size 8".split()
ENDLESS = "--max-update 100000 --total-num-update 100000 --log-format json --log-interval 1".split()

pytestmark = pytest.mark.slow


def running(save_dir: Path, *words: str) -> list[int]:
    """Processes whose command holds the folder of the checkpoints and some words in a row."""
    found = []
    wanted = "\0".join(["", *words, ""]).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes()
            if str(save_dir).encode() in command and (not words or wanted in command):
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def save_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for checkpoints; no process that names it outlives the test."""
    yield tmp_path / "run"
    for pid in running(tmp_path / "run"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for_updates(log: Path, processes: list[subprocess.Popen], updates: int = 3) -> None:
    """Wait until some updates are done."""
    end = time.monotonic() + 240
    while f'"num_updates": "{updates}"' not in log.read_text():
        assert time.monotonic() < end and all(process.poll() is None for process in processes), log.read_text()[-3000:]
        time.sleep(0.2)


def ends(processes: list[subprocess.Popen]) -> list[int]:
    """Exit codes of processes that end soon."""
    end = time.monotonic() + SOON
    return [process.wait(timeout=max(end - time.monotonic(), 0)) for process in processes]


@pytest.mark.parametrize("rank", [0, 1])
def test_through_torchrun(environment: dict, scenes: Path, save_dir: Path, tmp_path: Path, rank: int) -> None:
    log = tmp_path / "log"
    argv = [str(TRAIN), "captioning/narvl_nano", str(scenes), str(save_dir), *SMALL, *ENDLESS]
    with log.open("w") as file:
        train = subprocess.Popen(argv, env={**environment, "NPROC": "2"}, stdout=file, stderr=subprocess.STDOUT)
    wait_for_updates(log, [train])
    [victim] = running(save_dir, "--distributed-rank", str(rank))
    os.kill(victim, signal.SIGKILL)
    [status] = ends([train])
    assert status != 0
    assert f"exitcode  : -9 (pid: {victim})" in log.read_text()
    assert running(save_dir) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_on_two_machines(environment: dict, scenes: Path, save_dir: Path, tmp_path: Path, rank: int) -> None:
    """The torchrun of the other machine does not see the process die: its own one must."""
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        port = str(free.getsockname()[1])
    argv = [str(TRAIN), "captioning/narvl_nano", str(scenes), str(save_dir), *SMALL, *ENDLESS]
    machines = []
    for number in range(2):
        network = {"NNODES": "2", "NODE_RANK": str(number), "MASTER_ADDR": "127.0.0.2", "MASTER_PORT": port}
        with (tmp_path / f"{number}.log").open("w") as log:
            environ = {**environment, "NPROC": "1", **network}
            machines.append(subprocess.Popen(argv, env=environ, stdout=log, stderr=subprocess.STDOUT))
    wait_for_updates(tmp_path / "0.log", machines)
    [victim] = running(save_dir, "--distributed-rank", str(rank))
    os.kill(victim, signal.SIGKILL)
    assert all(status != 0 for status in ends(machines))
    assert running(save_dir) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_without_a_launcher(
    start_ranks: Callable, scenes: Path, train_flags: list, adam: list, save_dir: Path, tmp_path: Path, rank: int
) -> None:
    model = ["--arch", "narvl_nano", "--criterion", "query_ctc", "--batch-size", 8, "--max-update", 100000]
    argv = ["fairseq-train", scenes, *train_flags, *adam, *model, "--save-dir", save_dir]
    ranks = start_ranks(2, [str(word) for word in argv])
    wait_for_updates(tmp_path / "rank0.log", ranks)
    ranks[rank].kill()
    statuses = ends(ranks)
    assert statuses[rank] == -signal.SIGKILL
    assert statuses[1 - rank] > 0
    assert "Connection" in (tmp_path / f"rank{1 - rank}.log").read_text()


def test_a_process_that_stops_at_a_bad_row(
    start_ranks: Callable,
    rows: list,
    make_data: Callable,
    train_flags: list,
    adam: list,
    save_dir: Path,
    tmp_path: Path,
) -> None:
    data = make_data(tmp_path / "data", train=[*rows[:15], [*rows[15][:4], "!"]], valid=rows[:2])
    model = ["--arch", "narvl_nano", "--criterion", "query_ctc", "--batch-size", 2, "--max-update", 100000]
    argv = ["fairseq-train", data, *train_flags, *adam, *model, "--save-dir", save_dir]
    statuses = [rank.wait(timeout=240) for rank in start_ranks(2, [str(word) for word in argv])]
    assert all(status > 0 for status in statuses)
    logs = [(tmp_path / f"rank{rank}.log").read_text() for rank in range(2)]
    assert sum("train.tsv, row 16: the image is not base64" in log for log in logs) == 1

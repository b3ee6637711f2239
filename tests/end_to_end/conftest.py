"""The commands as users run them, small data, and the flags of the nano models."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BPE_FILES = ("encoder.json", "vocab.bpe", "dict.txt")
TIME_LIMIT = 300  # seconds

Row = list[str]


@dataclass(frozen=True)
class Finished:
    """A command that has ended: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line of standard error: what a user reads first."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""

    def records(self, kind: str) -> list[dict[str, str]]:
        """The values that fairseq logged by ``--log-format json`` under ``train_inner``, ``train`` or ``valid``."""
        marker = f" | {kind} | "
        return [json.loads(line.split(marker)[1]) for line in self.out.splitlines() if marker + "{" in line]


Command = Callable[..., Finished]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """This Python's commands first; one thread each, since two tests run at a time."""
    scripts = Path(sys.executable).parent
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Command:
    """Run a command in a process of its own; it must succeed unless ``fails=True``, and then it must not."""

    def call(*words: object, fails: bool = False, cwd: Path | None = None) -> Finished:
        argv = [str(word) for word in words]
        if argv[0] == "narvl":
            argv[:1] = [sys.executable, "-m", "narvl.cli"]
        done = subprocess.run(argv, env=environment, cwd=cwd, capture_output=True, text=True, timeout=TIME_LIMIT)
        return checked(Finished(done.returncode, done.stdout, done.stderr), argv, fails)

    return call


@pytest.fixture(scope="session")
def quick(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Like ``run``, in a fork of one process that has the imports done (preloaded.py)."""
    folder = tmp_path_factory.mktemp("preloaded")
    argv = [sys.executable, str(Path(__file__).with_name("preloaded.py"))]
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout

        def call(*words: object, fails: bool = False) -> Finished:
            request = {
                "argv": [str(word) for word in words],
                "out": str(folder / "out"),
                "err": str(folder / "err"),
            }
            assert server.stdin and server.stdout
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            status = int(next(line for line in server.stdout if line.startswith("status ")).split()[1])
            done = Finished(status, (folder / "out").read_text(), (folder / "err").read_text())
            return checked(done, request["argv"], fails)

        yield call
        server.terminate()  # its input may not end: processes that a test has left behind hold it open


def checked(done: Finished, argv: object, fails: bool) -> Finished:
    """Hand a finished command on if it ended as expected."""
    if (done.status != 0) != fails:
        pytest.fail(f"{argv}\nended with {done.status}\n{done.out[-2000:]}\n{done.err[-4000:]}", pytrace=False)
    return done


@pytest.fixture(scope="session")
def task_flags() -> list[object]:
    """What both fairseq commands are told of the scenes."""
    task = ["--task", "captioning", "--patch-image-size", 64, "--code-dict-size", 0, "--num-bins", 64]
    return ["--user-dir", ROOT / "narvl", *task, "--cpu", "--num-workers", 0]


@pytest.fixture(scope="session")
def train_flags(task_flags: list[object]) -> list[object]:
    """What fairseq-train is told beside model, criterion, optimizer, batch size and length of training."""
    logs = ["--log-format", "json", "--log-interval", 1, "--no-epoch-checkpoints"]
    return [*task_flags, *logs, "--valid-generation-args", '{"beam": 1, "max_len_b": 8}', "--seed", 1]


@pytest.fixture(scope="session")
def adam() -> list[object]:
    """The recipes' optimizer."""
    return ["--optimizer", "adam", "--adam-betas", "(0.9, 0.999)", "--lr", 1e-3, "--clip-norm", 1.0]


@pytest.fixture(scope="session")
def rows(scenes: Path) -> list[Row]:
    """Rows of scenes, one caption each: material for data folders."""
    return [line.split("\t") for line in (scenes / "train.tsv").read_text().splitlines()]


@pytest.fixture(scope="session")
def make_data(scenes: Path) -> Callable[..., Path]:
    """Write a data folder: ``make_data(folder, train=rows, ...)``."""

    def make(folder: Path, **splits: list[Row]) -> Path:
        folder.mkdir(parents=True)
        for name in BPE_FILES:
            shutil.copy(scenes / name, folder)
        for split, split_rows in splits.items():
            (folder / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in split_rows))
        return folder

    return make


@pytest.fixture
def start_ranks(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., list[subprocess.Popen]]]:
    """Start fairseq-train as processes that train together: ``start_ranks(count, argv)``; their logs: ``rankN.log``."""
    started: list[subprocess.Popen] = []

    def start(count: int, argv: list[str]) -> list[subprocess.Popen]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(count):
            cluster = ["--distributed-world-size", count, "--distributed-rank", rank, "--distributed-no-spawn"]
            cluster += ["--distributed-init-method", f"tcp://127.0.0.1:{port}"]
            cluster += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
            with (tmp_path / f"rank{rank}.log").open("w") as log:
                process = subprocess.Popen(
                    [*argv, *map(str, cluster)],
                    env={**environment, "LOCAL_RANK": "0"},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            started.append(process)
        return started

    yield start
    for process in started:
        process.kill()
        process.wait()

"""Whatever reads a checkpoint names a damaged one and offers another, and runs nothing that a crafted one asks for."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

IMAGE = 4
UPDATES = 2
#: What reads a checkpoint.
READERS = ("resume", "restore", "finetune", "generate", "validate", "predict", "ema", "distil")


@pytest.fixture(scope="module")
def data(make_data: Callable, rows: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "data"
    make_data(folder, train=rows[:6], valid=rows[6:8], test=rows[8:10], teacher=rows[8:10])
    (folder / "distill.json").write_text('{"task": "captioning"}')
    (folder / "image.png").write_bytes(base64.urlsafe_b64decode(rows[0][IMAGE]))
    return folder


@pytest.fixture(scope="module")
def command(data: Path, train_flags: list, adam: list) -> list[object]:
    """fairseq-train's command, but for the folder of checkpoints."""
    model = ["--arch", "narvl_nano", "--criterion", "query_ctc", "--store-ema", "--ema-decay", 0.9]
    length = ["--batch-size", 2, "--required-batch-size-multiple", 1, "--max-update", UPDATES]
    return ["fairseq-train", data, *train_flags, *adam, *model, *length, "--save-dir"]


@pytest.fixture(scope="module")
def trained(quick: Callable, command: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints."""
    folder = tmp_path_factory.mktemp("trained")
    quick(*command, folder)
    return folder


@pytest.fixture
def readers(command: list, task_flags: list, data: Path, tmp_path: Path) -> Callable[[Path], dict[str, list[object]]]:
    """The commands that read a checkpoint_last.pt."""

    def make(path: Path) -> dict[str, list[object]]:
        other, student = tmp_path / "other", tmp_path / "student"
        shutil.copytree(data, student, dirs_exist_ok=True)
        return {
            "resume": [*command, path.parent],
            "restore": [*command, other, "--restore-file", path],
            "finetune": [*command, other, "--finetune-from-model", path],
            "generate": ["fairseq-generate", data, *task_flags, "--batch-size", 2, "--path", path],
            "validate": ["fairseq-validate", data, *task_flags, "--batch-size", 2, "--path", path],
            "predict": ["narvl", "predict", "--cpu", "--path", path, data / "image.png"],
            "ema": ["narvl", "ema", path, tmp_path / "averaged.pt"],
            "distil": ["narvl", "distill", "decode", "--out", student, "--", *task_flags[2:], "--path", path],
        }

    return make


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("reader", READERS)
def test_a_truncated_checkpoint_is_named_and_another_offered(
    reader: str, readers: Callable, quick: Callable, run_folder: Path
) -> None:
    path, best = (run_folder / f"checkpoint_{name}.pt" for name in ("last", "best"))
    half = path.stat().st_size // 2
    os.truncate(path, half)
    done = quick(*readers(path)[reader], fails=True)
    for part in (
        f"{path}: damaged: {half:,} bytes, whose end is missing or broken.",
        f"can be read is {best} (update {UPDATES}): copy it over this one, or give it instead.",
    ):
        assert part in done.last_line
    shutil.copy(best, path)
    if reader in ("resume", "validate", "predict", "ema"):
        quick(*readers(path)[reader])


class Touch:
    """Pickles into a call."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("reader", READERS)
def test_a_crafted_pickle_runs_nothing(
    reader: str, readers: Callable, quick: Callable, run_folder: Path, tmp_path: Path
) -> None:
    path, marker = run_folder / "checkpoint_last.pt", tmp_path / "ran"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "extra": Touch(marker)}, path)
    done = quick(*readers(path)[reader], fails=True)
    assert f"{path}: refused: it asks for 'posix.system'" in done.last_line
    assert "Nothing was run" in done.last_line
    assert not marker.exists()


def settings_that_run(code: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Entries of a checkpoint from which fairseq builds something that evaluates them, by what it builds."""
    layers = f"[(1, 1, 1)] * (1 + {code})"
    task = {"_name": "audio_pretraining", "data": str(folder)}
    model = {"_name": "wav2vec2", "conv_feature_layers": layers}
    names = {"task": "audio_pretraining", "arch": "wav2vec2", "criterion": "wav2vec"}
    return {
        "args": {"args": Namespace(**names, data=str(folder), conv_feature_layers=layers)},
        "task": {"cfg": {"task": task, "model": model}},
        # Where an older entry names another, fairseq prefers it.
        "older task": {"cfg": {"task": {**task, "task": task["_name"], "_name": "captioning"}, "model": model}},
        "model": {"cfg": {"model": model}},
        "criterion": {"cfg": {"criterion": {"_name": "ctc", "wer_args": code}}},
        "older criterion": {"cfg": {"criterion": Namespace(_name="query_ctc", criterion="ctc", wer_args=code)}},
    }


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        *itertools.product(["generate", "validate", "predict", "distil"], ["args", "task", "older task", "model"]),
        *itertools.product(["validate"], ["criterion", "older criterion"]),  # nothing else builds the checkpoint's
    ],
)
def test_settings_that_fairseq_evaluates_run_nothing(
    kind: str, reader: str, readers: Callable, quick: Callable, run_folder: Path, tmp_path: Path
) -> None:
    """Some of fairseq's own tasks, models and criterions hand settings to eval(); a checkpoint says which it is of."""
    path, marker = run_folder / "checkpoint_last.pt", tmp_path / "ran"
    state = torch.load(path, weights_only=True)
    for name, settings in settings_that_run(f"__import__('os').system('touch {marker}')", tmp_path)[kind].items():
        state[name] = {**state[name], **settings} if name == "cfg" else settings
    torch.save(state, path)
    done = quick(*readers(path)[reader], fails=True)
    assert ("--criterion, or the checkpoint's" if "criterion" in kind else "of another project") in done.last_line
    assert not marker.exists()


@pytest.mark.parametrize("reader", ["validate", "predict"])  # others take the task from their flags
def test_a_checkpoint_that_no_task_can_be_built_of_is_named(
    reader: str, readers: Callable, quick: Callable, run_folder: Path
) -> None:
    path = run_folder / "checkpoint_last.pt"
    state = torch.load(path, weights_only=True)
    state["cfg"]["task"]["ar_search"] = 1.5
    torch.save(state, path)
    done = quick(*readers(path)[reader], fails=True)
    assert f"{path}: not a checkpoint that can be loaded (" in done.last_line


def test_a_start_that_does_not_exist_is_named(command: list, quick: Callable, tmp_path: Path) -> None:
    """fairseq trains from the beginning instead."""
    done = quick(*command, tmp_path / "run", "--restore-file", tmp_path / "none.pt", fails=True)
    assert f"--restore-file {tmp_path / 'none.pt'}: no such file" in done.last_line


def test_a_finished_training_is_not_trained_on(command: list, quick: Callable, run_folder: Path) -> None:
    """fairseq makes one more update each time."""
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    again = quick(*command, run_folder)
    assert f"training has ended before: {UPDATES} updates" in again.out
    assert not again.records("train_inner")
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before
    longer = quick(*command, run_folder, "--max-update", UPDATES + 1)
    assert [record["num_updates"] for record in longer.records("train_inner")] == [str(UPDATES + 1)]


def test_the_death_of_a_worker_ends_the_training(
    command: list, environment: dict, make_data: Callable, rows: list, tmp_path: Path
) -> None:
    """As when the system ends it for its memory: no hang, no success."""
    data = make_data(tmp_path / "data", train=rows * 100)  # so many that the worker never has sent all
    flags = ["--num-workers", 1, "--max-update", 100_000, "--disable-validation", "--no-save"]
    argv = [str(word) for word in [command[0], data, *command[2:], tmp_path / "run", *flags]]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        next(line for line in process.stdout if "train_inner" in line)
        os.kill(next(workers(process.pid)), signal.SIGKILL)
        try:
            _, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith(
        "fairseq-train: error: --num-workers: a data-loading worker died, most likely for its memory"
    )


def workers(pid: int) -> Iterator[int]:
    """The processes that a process has started."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            yield from map(int, path.read_text().split())


@pytest.mark.slow
def test_a_full_disk_ends_the_training_with_a_word(command: list, run: Callable, run_folder: Path) -> None:
    path = run_folder / "checkpoint_best.pt"
    before, kilobytes = path.read_bytes(), path.stat().st_size // 2048
    limited = ["bash", "-c", f'ulimit -f {kilobytes} && exec "$@"', "bash", *command]
    done = run(*limited, run_folder, "--max-update", UPDATES + 1, fails=True)
    assert done.status == 1
    assert done.last_line.startswith(f"fairseq-train: error: {run_folder}")
    assert "the checkpoint cannot be written (File too large). The earlier one is as it was" in done.last_line
    assert path.read_bytes() == before
    assert not list(run_folder.glob("*.tmp"))

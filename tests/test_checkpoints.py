"""Checkpoint files: damaged ones are named and another is offered, crafted ones run nothing, a full disk loses none."""

from __future__ import annotations

import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narvl import checkpoints
from narvl.errors import DataError, UsageError


def save(path: Path, update: int = 3, age: int = 0) -> Path:
    """Write a small checkpoint, as old as so many seconds."""
    state = {
        "args": Namespace(task="captioning"),
        "model": {"w": torch.arange(4000.0)},
        "optimizer_history": [{"num_updates": update}],
    }
    torch.save(state, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


@pytest.fixture
def last(tmp_path: Path) -> Path:
    return save(tmp_path / "checkpoint_last.pt")


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        checkpoints.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert "weights_only" not in message, "torch's advice is to switch its safety off"
    return message


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def test_compressed_parts_are_refused_unread(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch stores its parts as they are; others' could fill the memory from a small file."""
    with zipfile.ZipFile(last) as archive:
        parts = [(part.filename, archive.read(part)) for part in archive.infolist()]
    with zipfile.ZipFile(last, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    assert len(torch.load(last, weights_only=True)["model"]["w"]) == 4000, "torch reads them"
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    message = refusal(last)
    assert f"no checkpoint of torch's: {parts[0][0]!r} in it is compressed" in message
    assert f"No other checkpoint in {last.parent} can be read" in message


def test_parts_that_share_bytes_are_refused_unread(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(last, "a") as archive:
        weights = max(archive.infolist(), key=lambda part: part.file_size)
        archive.filelist += [weights] * 9
        archive.writestr("written", b"")  # so that the list is
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert re.search(r"no checkpoint of torch's: [\d,]+ bytes that claim to be 16\d,\d{3}\b", refusal(last))


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_truncated_checkpoint_is_named(last: Path, share: float) -> None:
    size = int(last.stat().st_size * share)
    os.truncate(last, size)
    message = refusal(last)
    assert f"damaged: {size:,} bytes, whose end is missing or broken" in message
    assert f"No other checkpoint in {last.parent} can be read" in message


def test_weights_that_changed_on_the_disk_are_named(last: Path) -> None:
    """torch reads the file without a word."""
    flip(last, last.read_bytes().index(torch.arange(4000.0).numpy().tobytes()[:64]) + 17)
    assert not torch.equal(torch.load(last, weights_only=True)["model"]["w"], torch.arange(4000.0))
    assert "/data/0' are not what was saved" in refusal(last)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>404</html>", b"\0" * 5000, b"not a checkpoint"])
def test_other_bytes_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    message = refusal(path)
    assert "damaged" in message and f"{len(content):,} bytes" in message


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_of_any_kind_is_told_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = save(tmp_path_factory.getbasetemp() / "fuzzed.pt")
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.sampled_from(["cut", "change", "insert", "zero"]))
    length = data.draw(st.integers(1, 300))
    left, right = whole[:place], whole[place + length :]
    noise = data.draw(st.binary(min_size=1, max_size=length))
    path.write_bytes(
        {"cut": left, "change": left + noise + whole[place + len(noise) :], "insert": left + noise + whole[place:]}.get(
            damage, left + b"\0" * length + right
        )
    )
    if path.read_bytes() != whole:
        try:
            state = checkpoints.read(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:  # the damage lies between the parts
            assert torch.equal(state["model"]["w"], torch.arange(4000.0))


def test_the_newest_other_checkpoint_that_can_be_read_is_offered(last: Path) -> None:
    folder = last.parent
    save(folder / "checkpoint_1_10.pt", 10, age=30)
    best = save(folder / "checkpoint_best.pt", 20, age=20)
    os.truncate(save(folder / "checkpoint_1_30.pt", 30, age=10), 700)
    torch.save([1], folder / "another.pt")
    (folder / "gone.pt").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.pt")  # opened, it would wait for a writer
    assert "no file of bytes, but a pipe or device" in refusal(folder / "pipe.pt")
    os.truncate(last, 1000)
    assert refusal(last).endswith(
        f"The newest other checkpoint there that can be read is {best} (update 20): copy it over this one, or give it "
        "instead."
    )


@pytest.mark.parametrize("state", [[1], {"weights": {}}, {"model": [1]}, torch.zeros(2)])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / "x.pt")
    assert f"no checkpoint, but a {type(state).__name__} without a model" in refusal(tmp_path / "x.pt")


@pytest.mark.parametrize("value", [11, None, "ab", [1]])
def test_a_task_state_that_is_none_is_named(tmp_path: Path, value: Any) -> None:
    torch.save({"model": {}, "task_state": value}, tmp_path / "x.pt")
    assert f"x.pt: damaged: its 'task_state' is a {type(value).__name__}, not a mapping" in refusal(tmp_path / "x.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "x.pt")
    assert "cannot be read" in refusal(tmp_path)


class Run:
    """Pickles into a call."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch '{marker}'"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


WRITERS: dict[str, Callable[[Any, Path], Any]] = {
    "zip": lambda state, path: torch.save(state, path),
    "older format": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "pickle": lambda state, path: path.write_bytes(pickle.dumps(state, 2)),
}


@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_crafted_pickle_runs_nothing(tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # an advice that goes round for fairseq
    path, marker = tmp_path / "x.pt", tmp_path / "ran"
    WRITERS[writer]({"model": {"w": Run(marker)}}, path)
    message = refusal(path)
    assert "refused: it asks for 'posix.system'" in message and "Nothing was run" in message
    assert not marker.exists()
    with path.open("rb") as file:
        torch.load(file) if writer != "pickle" else pickle.load(file)
    assert marker.exists(), "the file is dangerous indeed"


class TestWriting:
    """The file has its old content or the new one."""

    @pytest.fixture
    def small_files(self) -> Iterator[None]:
        """No file may grow beyond 8 KiB."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 10, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @pytest.mark.usefixtures("small_files")
    @pytest.mark.parametrize("how", ["write", "copy"])
    def test_a_full_disk_is_told_and_the_earlier_checkpoint_kept(self, tmp_path: Path, how: str) -> None:
        path, source = tmp_path / "checkpoint_last.pt", tmp_path / "source"
        for name in (path, source):
            with name.open("wb") as file:
                file.write(b"old")
        state = {"model": {"w": torch.zeros(10_000)}}
        with pytest.raises(UsageError) as error:
            if how == "write":
                checkpoints.write(state, path)
            else:
                self.enlarge(source)
                checkpoints.copy(source, path)
        assert str(error.value) == (
            f"{path}: the checkpoint cannot be written (File too large). The earlier one is as it was. Free space or "
            "give another folder, and run the command again."
        )
        assert path.read_bytes() == b"old"
        assert sorted(tmp_path.iterdir()) == [path, source], "nothing half-written is left"

    @staticmethod
    def enlarge(path: Path) -> None:
        subprocess.run([sys.executable, "-c", f"open({str(path)!r}, 'wb').write(bytes(8192))"], check=True)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft // 2, hard))

    def test_another_try_begins_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """fairseq's goes on behind what the last one has left, which no one can load."""
        monkeypatch.setattr(checkpoints, "_PAUSE_S", 0.0)
        save_well, tries = torch.save, []

        def fail_once(state: Any, file: Any) -> None:
            tries.append(file.tell())
            if len(tries) == 1:
                file.write(b"half of it")
                raise OSError(28, "No space left on device")
            save_well(state, file)

        monkeypatch.setattr(torch, "save", fail_once)
        checkpoints.write({"model": {"w": torch.ones(2)}}, tmp_path / "x.pt", tries=3)
        assert tries == [0, 0]
        assert checkpoints.read(tmp_path / "x.pt")["model"]["w"].tolist() == [1.0, 1.0]

    def test_the_name_comes_after_the_content(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else a machine that loses power may keep the name alone."""
        done: list[str] = []
        sync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda handle: (done.append("content"), sync(handle)))
        monkeypatch.setattr(os, "replace", lambda *paths: (done.append("name"), replace(*paths)))
        checkpoints.write({"model": {}}, tmp_path / "x.pt")
        checkpoints.copy(tmp_path / "x.pt", tmp_path / "y.pt")
        assert done == ["content", "name"] * 2

    def test_a_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(
            UsageError, match="x.pt: the checkpoint cannot be written .No such file or directory.. Free"
        ):
            checkpoints.write({"model": {}}, tmp_path / "none" / "x.pt")


def test_fairseq_writes_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    import narvl  # noqa: F401

    monkeypatch.setattr(checkpoints, "_PAUSE_S", 0.0)
    checkpoint_utils.torch_persistent_save({"model": {"w": torch.ones(1)}}, str(tmp_path / "x.pt"))
    assert PathManager.copy(str(tmp_path / "x.pt"), str(tmp_path / "y.pt"), overwrite=True)
    assert checkpoints.read(tmp_path / "y.pt")["model"]["w"] == 1

    def fail(state: Any, file: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UsageError, match="x.pt: the checkpoint cannot be written .No space left on device."):
        checkpoint_utils.torch_persistent_save({}, str(tmp_path / "x.pt"))
    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(UsageError, match="y.pt: the checkpoint cannot be written"):
        PathManager.copy(str(tmp_path / "x.pt"), str(tmp_path / "y.pt"), overwrite=True)
    assert checkpoints.read(tmp_path / "x.pt")["model"]["w"] == 1

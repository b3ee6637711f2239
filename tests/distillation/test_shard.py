"""A shard's results file, cut off anywhere, goes on to hold each row once; one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from narvl.distillation.folder import find_shards, shard_path, shard_rows
from narvl.distillation.shard import Shard, is_complete
from narvl.errors import DataError, UsageError
from narvl.evaluation.generations import iterate_generations

SETTINGS = {"beam": 5, "teacher": ["0" * 64]}
ROWS = range(7, 11)
LOCK = """
import fcntl, sys
file = open(sys.argv[1], "a+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def fill(path: Path, block: Callable) -> list[int]:
    """Decode what is missing; return which rows that was."""
    with Shard(path, ROWS, SETTINGS) as shard:
        missing = shard.missing.tolist()
        if not shard.complete:
            for row in missing:
                shard.text.write(block(row, f"été {row}"))
            shard.check()
            assert not len(shard.missing)
            shard.finish()
    return missing


def rows_of(path: Path) -> list[int]:
    with path.open("rb") as handle:
        return [entry.row for entry in iterate_generations(handle, path)]


def test_a_file_cut_off_at_any_byte_goes_on_to_the_same_end(block: Callable, tmp_path: Path) -> None:
    path = tmp_path / "shards" / "0-of-1.txt"
    assert fill(path, block) == list(ROWS)
    whole = path.read_bytes()
    ends = [whole.index(b"\n", whole.index(b"P-%d" % row)) + 1 for row in ROWS]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        done = sum(end <= size for end in ends)
        assert fill(path, block) == list(ROWS)[done:]
        assert path.read_bytes() == whole


def test_log_lines_and_zeros_in_the_tail_do_no_harm(block: Callable, tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.txt"
    fill(path, block)
    end = path.read_bytes().index(b"P-8\t")
    path.write_bytes(path.read_bytes()[:end] + b"2024 | WARNING | skipped\n" + bytes(100_000))
    assert fill(path, block) == [8, 9, 10]
    assert rows_of(path) == list(ROWS)


def test_a_complete_file_is_left_alone_even_without_all_rows(block: Callable, tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.txt"
    with Shard(path, ROWS, SETTINGS) as shard:
        shard.text.write(block(9))
        shard.check()
        assert shard.missing.tolist() == [7, 8, 10]
        assert not is_complete(path)
        shard.finish()
    before = path.read_bytes()
    with Shard(path, ROWS, SETTINGS) as shard:
        assert shard.complete
        assert shard.missing.tolist() == [7, 8, 10]
    assert path.read_bytes() == before
    assert is_complete(path)


def test_two_processes_never_share_a_file_and_a_killed_one_leaves_no_lock(block: Callable, tmp_path: Path) -> None:
    path = tmp_path / "3-of-4.txt"
    fill(path, block)
    before = path.read_bytes()
    with subprocess.Popen([sys.executable, "-c", LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(UsageError, match=r"--shard-id 3: another process is decoding it \(.*3-of-4.txt is locked"):
            Shard(path, ROWS, SETTINGS)
        other.send_signal(signal.SIGKILL)
    assert path.read_bytes() == before
    Shard(path, ROWS, SETTINGS).text.close()


def test_a_file_system_without_locks_is_told(
    block: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr("fcntl.lockf", refuse)
    assert fill(tmp_path / "0-of-1.txt", block) == list(ROWS)
    assert "0-of-1.txt: not locked" in caplog.text


def test_other_settings_are_refused(block: Callable, tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.txt"
    fill(path, block)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"other settings: beam 5, now 1, lenpen None, now 2\.0, teacher \['0000.*now"):
        Shard(path, ROWS, {"beam": 1, "lenpen": 2.0, "teacher": ["1" * 64]})
    assert path.read_bytes() == before


def test_foreign_and_damaged_files_are_refused(block: Callable, tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.txt"
    deep = "[" * 100_000
    for first in (block(7), *(f"narvl distill decode: {settings}\n" for settings in ("{broken", "[]", deep))):
        path.write_text(first)
        with pytest.raises(DataError, match="first line does not tell the settings"):
            Shard(path, ROWS, SETTINGS)
        assert path.read_text() == first
    for blocks, what in ((block(7) + block(7), "row id 7 is twice"), (block(6), "row id 6 is of another shard")):
        path.unlink()
        with Shard(path, ROWS, SETTINGS) as shard:
            shard.text.write(blocks)
        with pytest.raises(DataError, match=what):
            Shard(path, ROWS, SETTINGS)


@pytest.mark.parametrize(("num_rows", "num_shards"), [(1000, 4), (10, 3), (2, 5), (0, 2)])
def test_shards_are_all_rows_once_and_even(num_rows: int, num_shards: int) -> None:
    shards = [shard_rows(num_rows, index, num_shards) for index in range(num_shards)]
    assert [row for shard in shards for row in shard] == list(range(num_rows))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_names_of_shards(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for index in range(11):
        shard_path(tmp_path, index, 11).touch()
    for name in ("3-of-11.rows", "notes.txt", "3-of-11.txt.bak"):
        (tmp_path / "shards" / name).touch()
    assert find_shards(tmp_path) == [shard_path(tmp_path, index, 11) for index in range(11)]
    for shard_id, num_shards, flag in ((4, 4, "--shard-id 4"), (-1, 4, "--shard-id -1"), (0, 0, "--num-shards 0")):
        with pytest.raises(UsageError, match=flag):
            shard_path(tmp_path, shard_id, num_shards)

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.data import tsv
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError

PAIR = ("key", "value")


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(file: TsvFile) -> list[list[str]]:
    return [file[index] for index in range(len(file))]


def saved(values: Any, save: Any = np.save) -> bytes:
    stream = io.BytesIO()
    save(stream, values)
    return stream.getvalue()


def loaded(data: bytes) -> Any:
    return np.load(io.BytesIO(data))


def crc(offsets: list[int]) -> int:
    return zlib.crc32(np.array(offsets, dtype=np.int64))


class TestRows:
    @pytest.mark.parametrize("end", ["\n", "", "\r\n"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_line_ends(self, tmp_path: Path, newline: str, end: str) -> None:
        path = write(tmp_path / "a.tsv", newline.join(["k1\tv1", "k2\tv2", "k3\tv3"]) + end)
        assert rows(TsvFile(path, PAIR)) == [["k1", "v1"], ["k2", "v2"], ["k3", "v3"]]

    def test_empty_fields_and_blanks_are_kept(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "\t v 1 \nk2\t\n")
        assert rows(TsvFile(path, PAIR)) == [["", " v 1 "], ["k2", ""]]

    def test_utf_8(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "käse\t犬が走る\n🐕\tν\u2028x\n")
        assert rows(TsvFile(path, PAIR)) == [["käse", "犬が走る"], ["🐕", "ν\u2028x"]]

    @given(
        table=st.lists(
            st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=12)] * 2),
            min_size=1,
        ),
        block=st.integers(1, 9),
        order=st.randoms(use_true_random=False),
    )
    def test_any_order_of_access(
        self, tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], block: int, order: random.Random
    ) -> None:
        """However the index's blocks cut the file."""
        path = write(tmp_path_factory.mktemp("tsv") / "a.tsv", "".join(f"{key}\t{value}\n" for key, value in table))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tsv, "_SCAN_BYTES", block)
            file = TsvFile(path, PAIR)
        indices = list(range(len(table)))
        order.shuffle(indices)
        assert [file[index] for index in indices] == [list(table[index]) for index in indices]

    @pytest.mark.parametrize("index", [-1, 2, 100])
    def test_index_out_of_range(self, tmp_path: Path, index: int) -> None:
        file = TsvFile(write(tmp_path / "a.tsv", "k1\tv1\nk2\tv2\n"), PAIR)
        with pytest.raises(IndexError):
            file[index]

    def test_columns_of_the_tasks(self) -> None:
        assert {task: len(columns) for task, columns in COLUMNS.items()} == {
            "captioning": 5,
            "vqa": 6,
            "grounding": 5,
            "entailment": 6,
        }


class TestBadFiles:
    @pytest.mark.parametrize(
        ("row", "seen"), [("k2", 1), ("k2\tv2\tx", 3), ("", 1)], ids=["missing", "extra", "empty line"]
    )
    def test_wrong_number_of_columns_names_the_row(self, tmp_path: Path, row: str, seen: int) -> None:
        path = write(tmp_path / "a.tsv", f"k1\tv1\n{row}\nk3\tv3\n")
        file = TsvFile(path, PAIR)
        with pytest.raises(DataError) as error:
            file[1]
        assert str(error.value).startswith(f"{path}, row 2: {seen} columns, expected 2 (key, value)")
        assert file[2] == ["k3", "v3"]

    def test_not_utf_8(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", b"k1\tv1\nk\xff\tv2\n")
        with pytest.raises(DataError, match=r"a\.tsv, row 2: not UTF-8 .* Save the file as UTF-8"):
            TsvFile(path, PAIR)[1]

    def test_a_file_without_line_ends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tsv, "_MAX_ROW_BYTES", 20)
        path = write(tmp_path / "a.tsv", "k1\tv1\n" + "x" * 21)
        with pytest.raises(DataError, match=r"a\.tsv, row 2: 21 bytes; at most 20 are read. .* end in a line feed"):
            TsvFile(path, PAIR)[1]

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"valid\.tsv: no such file\. Give the folder that holds valid\.tsv"):
            TsvFile(tmp_path / "valid.tsv", PAIR)

    def test_empty_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="the file is empty. Expected rows with the columns key, value"):
            TsvFile(write(tmp_path / "a.tsv", ""), PAIR)

    def test_a_message_names_the_row_once(self, tmp_path: Path) -> None:
        file = TsvFile(write(tmp_path / "a.tsv", "k1\tv1\n"), PAIR)
        located = file.locate(0, DataError("broken."))
        assert located == f"{file.path}, row 1: broken."
        assert file.locate(0, DataError(located)) == located
        quoting = DataError(f"the text is '{file.path}'")
        assert file.locate(0, quoting) == f"{file.path}, row 1: {quoting}"


class TestStoredIndex:
    """Files that take long to scan keep their index beside them; here any file does."""

    @pytest.fixture(autouse=True)
    def store_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tsv, "_STORE_INDEX_FROM_BYTES", 0)

    @pytest.fixture()
    def path(self, tmp_path: Path) -> Path:
        return write(tmp_path / "big.tsv", "".join(f"k{index}\tv{index}\n" for index in range(50)))

    def forbid_scan(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def scan(path: Path) -> Any:
            raise AssertionError(f"{path} is scanned again")

        monkeypatch.setattr(tsv, "_scan", scan)

    def test_second_opening_reads_it(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = rows(TsvFile(path, PAIR))
        assert [entry.name for entry in path.parent.iterdir() if entry != path] == ["big.tsv.offsets.npy"]
        self.forbid_scan(monkeypatch)
        assert rows(TsvFile(path, PAIR)) == first
        assert len(first) == 50

    @pytest.mark.parametrize("change", ["size", "time"])
    def test_stale_one_is_made_anew(self, path: Path, change: str) -> None:
        TsvFile(path, PAIR)
        stat = path.stat()
        if change == "size":
            write(path, "longer key\tv0\nk1\tv1\n")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            expected = [["longer key", "v0"], ["k1", "v1"]]
        else:
            content = path.read_bytes().replace(b"k0\tv0\nk1\tv1\n", b"k0\tv\nk1\tv01\n")  # as long as before
            assert len(content) == stat.st_size
            write(path, content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
            expected = [["k0", "v"], ["k1", "v01"]]
        assert rows(TsvFile(path, PAIR))[:2] == expected
        assert rows(TsvFile(path, PAIR))[:2] == expected, "the stored index was replaced"

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:40],
            lambda data: data[:-8],
            lambda data: data.replace(b"int64", b"(((((").replace(b"<i8", b"{{{"),
            lambda data: saved(np.array([{"a": 1}], dtype=object)),
            lambda data: saved(loaded(data), np.savez),
            lambda data: saved(loaded(data).reshape(1, -1)),
            lambda data: saved(loaded(data) + np.eye(1, len(loaded(data)), 9, dtype=np.int64)[0]),
            lambda data: saved(np.concatenate([loaded(data)[:2], [zlib.crc32(b"")]])),
            lambda data: saved(np.concatenate([loaded(data)[:2], [crc([0, -9, 1 << 40])], [0, -9, 1 << 40]])),
        ],
    )
    def test_a_damaged_one_is_made_anew(self, path: Path, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
        expected = rows(TsvFile(path, PAIR))
        store = path.with_name("big.tsv.offsets.npy")
        sound = store.read_bytes()
        store.write_bytes(damage(sound))
        assert rows(TsvFile(path, PAIR)) == expected
        assert store.read_bytes() == sound

    def test_folder_that_cannot_be_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def save(*args: Any) -> None:
            raise PermissionError("read-only")

        monkeypatch.setattr(np, "save", save)
        assert len(TsvFile(path, PAIR)) == 50
        assert "the row index was not stored (read-only)" in caplog.text

    def test_small_files_are_left_without(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tsv, "_STORE_INDEX_FROM_BYTES", 1 << 30)
        TsvFile(path, PAIR)
        assert list(path.parent.iterdir()) == [path]


class TestWorkers:
    @pytest.fixture()
    def file(self, tmp_path: Path) -> TsvFile:
        text = "".join(f"k{index}\t{'v' * (index % 37)}{index}\n" for index in range(3000))
        return TsvFile(write(tmp_path / "a.tsv", text), PAIR)

    def test_pickling(self, file: TsvFile) -> None:
        expected = rows(file)
        copy = pickle.loads(pickle.dumps(file))
        assert rows(copy) == expected

    def test_processes_that_share_an_opened_file_do_not_mix_rows(self, file: TsvFile) -> None:
        """A forked worker inherits the parent's file position; reading through it would mix the rows of both."""
        expected = rows(file)  # the parent has opened the file
        context = multiprocessing.get_context("fork")

        def check(queue: Any, seed: int) -> None:
            indices = random.Random(seed).sample(range(3000), 3000)
            queue.put(all(file[index] == expected[index] for index in indices))

        queue = context.SimpleQueue()
        workers = [context.Process(target=check, args=(queue, seed)) for seed in range(3)]
        for worker in workers:
            worker.start()
        assert rows(file) == expected
        assert [queue.get() for _ in workers] == [True] * 3
        for worker in workers:
            worker.join()

"""``narvl prepare photos``: the data directory it writes, and its word on every kind of bad input."""

from __future__ import annotations

import argparse
import csv
import fcntl
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from narvl.commands import prepare
from narvl.data.image import decode_image
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError, UsageError
from narvl.prepare import photos
from narvl.prepare.fields import clean

Row = tuple[str, ...]
ROWS: list[Row] = [
    ("train", "red.png", "A red square ."),
    ("train", "blue.png", "a blue one"),
    ("train", "red.png", "Something red, seen close"),
    ("val", "green.png", "a green square"),
    ("val", "green.png", "one\tgreen && calm\nthing"),
    ("test", "grey.png", "a grey square"),
]
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 200, 30), "grey": (90, 90, 90)}
BPE = {"encoder.json": "{}", "vocab.bpe": "#version: 0.2\n", "dict.txt": "0 1\n"}


class Folder:
    """A folder of photos, a BPE folder and a CSV file, as a user would have them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images = path / "images"
        self.bpe = path / "bpe"
        self.csv = path / "captions.csv"
        self.out = path / "out"
        self.images.mkdir()
        self.bpe.mkdir()
        for name, colour in COLOURS.items():
            Image.new("RGB", (8, 6), colour).save(self.images / f"{name}.png")
        for name, text in BPE.items():
            (self.bpe / name).write_text(text)
        self.write(ROWS)

    def write(self, rows: list[Row], header: Row = ("split", "image", "caption")) -> None:
        with self.csv.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])

    def prepare(self, *flags: str) -> None:
        parser = argparse.ArgumentParser()
        prepare.add_arguments(parser)
        paths = {"--images": self.images, "--captions": self.csv, "--out": self.out, "--bpe-dir": self.bpe}
        given = [str(part) for flag, path in paths.items() if flag not in flags for part in (flag, path)]
        prepare.run(parser.parse_args(["photos", *given, *flags]))

    def rows(self, split: str) -> list[list[str]]:
        file = TsvFile(self.out / f"{split}.tsv", COLUMNS["captioning"])
        return [file[index] for index in range(len(file))]

    def refused(self, kind: type[ValueError], *words: str, flags: tuple[str, ...] = ()) -> None:
        """Check that the command stops with one line that holds the words, and leaves no file behind."""
        with pytest.raises(kind) as error:
            self.prepare(*flags)
        message = str(error.value)
        assert "\n" not in message
        for word in words:
            assert word in message
        assert not self.out.exists() or not list(self.out.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_training_has_a_row_a_caption_and_evaluation_a_row_an_image(folder: Folder) -> None:
    folder.prepare()
    assert [row[:4] for row in folder.rows("train")] == [
        ["0", "red", "A red square .", ""],
        ["1", "red", "Something red, seen close", ""],
        ["2", "blue", "a blue one", ""],
    ]
    assert [row[:4] for row in folder.rows("valid")] == [["0", "green", "a green square&&one green calm thing", ""]]
    assert [row[:4] for row in folder.rows("test")] == [["0", "grey", "a grey square", ""]]


def test_images_survive_the_round_trip(folder: Folder) -> None:
    folder.prepare()
    for split in ("train", "valid", "test"):
        for _, image_id, _, _, text in folder.rows(split):
            image = decode_image(text)
            assert image.size == (8, 6)
            assert (np.asarray(image) == COLOURS[image_id]).all()


def test_out_is_a_complete_data_directory(folder: Folder) -> None:
    folder.prepare()
    assert sorted(path.name for path in folder.out.iterdir()) == sorted(["train.tsv", "valid.tsv", "test.tsv", *BPE])
    assert {name: (folder.out / name).read_text() for name in BPE} == BPE


def test_bpe_dir_may_be_out_itself(folder: Folder) -> None:
    folder.bpe.rename(folder.out)
    folder.bpe = folder.out
    folder.prepare()
    assert {name: (folder.out / name).read_text() for name in BPE} == BPE


def test_any_number_of_workers_writes_the_same_bytes(folder: Folder) -> None:
    written = []
    for workers in "1", "4":
        folder.prepare("--workers", workers)
        written.append([(folder.out / f"{split}.tsv").read_bytes() for split in ("train", "valid", "test")])
    assert written[0] == written[1]


def test_max_side_reaches_the_images(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.prepare("--max-side", "4")
    assert {decode_image(row[4]).size for row in folder.rows("train")} == {(4, 3)}
    assert "3 rows of 2 images (2 converted" in capsys.readouterr().out


def test_spreadsheet_csv_is_read(folder: Folder) -> None:
    """A byte-order mark, other columns, another order, blank lines, Windows line ends, a folder in the image's name."""
    (folder.images / "sub").mkdir()
    (folder.images / "red.png").rename(folder.images / "sub" / "red.png")
    folder.csv.write_bytes('\ufeffCaption,note, Image ,SPLIT\r\n"café, red",x,sub/red.png,Train\r\n\r\n'.encode())
    folder.prepare()
    assert [row[:3] for row in folder.rows("train")] == [["0", "sub/red", "café, red"]]


def test_splits_without_rows_are_not_written_and_old_files_are_named(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write(ROWS[:3])
    folder.prepare()
    assert not (folder.out / "test.tsv").exists()
    (folder.out / "test.tsv").write_text("old")
    folder.prepare()
    assert "test.tsv: left from an earlier run" in caplog.text


def test_an_image_in_two_splits_is_warned_of(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.write([*ROWS, ("test", "red.png", "red again")])
    folder.prepare()
    assert "1 images of the split test are in train too" in caplog.text


@pytest.mark.parametrize("missing", ["split", "image", "caption"])
def test_missing_column(folder: Folder, missing: str) -> None:
    header = tuple("other" if name == missing else name for name in ("split", "image", "caption"))
    folder.write(ROWS, header)
    folder.refused(DataError, f"captions.csv, row 1: no column {missing}", ", ".join(header), "split,image,caption")


def test_missing_column_is_an_error_even_where_bad_rows_are_skipped(folder: Folder) -> None:
    folder.csv.write_text("")
    folder.refused(DataError, "no column split, image, caption; the header reads nothing", flags=("--skip-bad-rows",))


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"split,image,caption\ntrain,red.png,caf\xe9\n", "not UTF-8"), (b'split,image,caption\na,"b', "CSV")],
)
def test_files_that_are_no_utf8_csv(folder: Folder, content: bytes, word: str) -> None:
    folder.csv.write_bytes(content)
    folder.refused(DataError, "captions.csv", word)


BAD_ROWS: dict[str, tuple[Row, str, str]] = {
    "missing image": (("train", "gone.png", "x"), "gone.png: no such image file", "1 of a missing image"),
    "no image name": (("train", " ", "x"), "no such image file", "1 of a missing image"),
    "impossible image name": (("train", "long " * 200, "x"), "no such image file", "1 of a missing image"),
    "damaged image": (("train", "cut.jpg", "x"), "cut.jpg cannot be decoded", "1 of an unreadable image"),
    "no image": (("train", "text.jpg", "x"), "text.jpg is in no format", "1 of an unreadable image"),
    "empty caption": (("test", "red.png", " \t"), "the caption is ' \\t': no word in it", "1 with an empty caption"),
    "caption of separators": (("test", "red.png", "&&&"), "the caption is '&&&'", "1 with an empty caption"),
    "caption of punctuation": (("train", "red.png", "..."), "the caption is '...'", "1 with an empty caption"),
    "unknown split": (("trian", "red.png", "x"), "unknown split 'trian'", "1 of an unknown split"),
    "unquoted comma": (
        ("train", "red.png", "a", "b"),
        "4 columns, the header has 3",
        "1 with a wrong number of columns",
    ),
    "too few columns": (("train", "red.png"), "2 columns, the header has 3", "1 with a wrong number of columns"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_stop_the_command_or_are_skipped_and_counted(
    folder: Folder, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    bad, message, count = BAD_ROWS[kind]
    Image.effect_noise((64, 64), 50).save(folder.images / "whole.jpg")
    (folder.images / "cut.jpg").write_bytes((folder.images / "whole.jpg").read_bytes()[:900])
    (folder.images / "text.jpg").write_text("not an image")
    folder.write([ROWS[0], bad, *ROWS[1:]])
    folder.refused(DataError, "captions.csv, row 3: ", message, "--skip-bad-rows")

    with caplog.at_level(logging.WARNING):
        folder.prepare("--skip-bad-rows")
    assert "captions.csv, row 3: " in caplog.text
    assert message in caplog.text
    output = capsys.readouterr().out
    assert f"skipped: 1 rows ({count})" in output
    assert "train.tsv: 3 rows of 2 images" in output
    assert [row[2] for row in folder.rows("train")] == [ROWS[0][2], ROWS[2][2], ROWS[1][2]]


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "ABSOLUTE"])
def test_names_that_lead_out_of_the_folder_are_refused(folder: Folder, name: str) -> None:
    (folder.images / "a").mkdir()
    secret = folder.path / "secret.png"
    Image.new("RGB", (8, 6)).save(secret)
    name = str(secret) if name == "ABSOLUTE" else name
    folder.write([ROWS[0], ("train", name, "x")])
    folder.refused(DataError, f"captions.csv, row 3: {name!r} leads out of --images", "--skip-bad-rows")
    folder.prepare("--skip-bad-rows")
    assert [row[1] for row in folder.rows("train")] == ["red"]


def test_folders_within_the_folder_are_read(folder: Folder) -> None:
    (folder.images / "a").mkdir()
    (folder.images / "red.png").rename(folder.images / "a" / "red.png")
    folder.write([("train", "a/red.png", "x")])
    folder.prepare()
    assert [row[1] for row in folder.rows("train")] == ["a/red"]


def test_every_caption_of_an_unreadable_image_counts_as_a_skipped_row(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.images / "red.png").write_bytes(b"")
    folder.prepare("--skip-bad-rows")
    assert "skipped: 2 rows (2 of an unreadable image)" in capsys.readouterr().out
    assert [row[1] for row in folder.rows("train")] == ["blue"]


def test_nothing_skipped_is_said_too(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.prepare("--skip-bad-rows")
    assert capsys.readouterr().out.endswith("skipped: 0 rows\n")


def test_a_column_that_is_named_twice(folder: Folder) -> None:
    folder.csv.write_text("split,image,caption, Caption\ntrain,red.png,one,two\n")
    folder.refused(
        DataError, "captions.csv, row 1: the header names caption more than once", flags=("--skip-bad-rows",)
    )
    folder.csv.write_text("split,image,caption,note,note\ntrain,red.png,one,,\n")
    folder.prepare()
    assert [row[2] for row in folder.rows("train")] == ["one"]


@pytest.mark.parametrize("rows", [[], [("train", "gone.png", "x")]])
def test_no_usable_row(folder: Folder, rows: list[Row]) -> None:
    folder.write(rows)
    folder.refused(DataError, "captions.csv: no usable row", flags=("--skip-bad-rows",))


def test_a_split_of_unreadable_images_only(folder: Folder) -> None:
    (folder.images / "grey.png").write_bytes(b"")
    folder.refused(DataError, "no usable row is left for the split test", flags=("--skip-bad-rows",))


def test_two_images_of_one_id(folder: Folder) -> None:
    Image.new("RGB", (8, 8)).save(folder.images / "red.jpg")
    folder.write([*ROWS, ("train", "red.jpg", "x")])
    folder.refused(DataError, "row 8: the images 'red.png' and 'red.jpg' get the same id 'red'")


def test_bpe_directory_without_files(folder: Folder) -> None:
    (folder.bpe / "dict.txt").unlink()
    folder.refused(UsageError, f"--bpe-dir {folder.bpe}: no dict.txt", "encoder.json, vocab.bpe, dict.txt")


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--images", "nowhere", "no such folder"),
        ("--captions", "nowhere.csv", "no such file"),
        ("--workers", "0", "at least 1"),
        ("--max-side", "0", "at least 1"),
    ],
)
def test_bad_flags(folder: Folder, flag: str, value: str, message: str) -> None:
    folder.refused(UsageError, f"{flag} {value}", message, flags=(flag, value))


def test_out_that_cannot_be_made(folder: Folder) -> None:
    with pytest.raises(UsageError, match="--out .*captions.csv: cannot be made"):
        folder.prepare("--out", str(folder.csv))


def test_a_failed_run_leaves_the_earlier_files_alone(folder: Folder) -> None:
    folder.prepare()
    before = {path.name: path.read_bytes() for path in folder.out.iterdir()}
    (folder.images / "grey.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"grey\.png"):
        folder.prepare()
    assert {path.name: path.read_bytes() for path in folder.out.iterdir()} == before


def test_what_a_killed_run_has_left_is_deleted(folder: Folder) -> None:
    folder.out.mkdir()
    (folder.out / ".train.tsv.4711.partial").write_text("half a ro")
    (folder.out / ".mine.partial").write_text("another program's")
    folder.prepare()
    assert [path.name for path in folder.out.glob(".*")] == [".mine.partial"]


def test_two_conversions_into_one_directory(folder: Folder) -> None:
    folder.out.mkdir()
    handle = os.open(folder.out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        folder.refused(UsageError, f"--out {folder.out}: another conversion writes here now")
    finally:
        os.close(handle)
    folder.prepare()


def test_a_full_disk(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(photos, "_write", full)
        folder.refused(UsageError, f"--out {folder.out}: cannot be written (No space left on device). Free space")
    folder.prepare()


@given(st.lists(st.text(), min_size=1, max_size=5))
@example(["salt &", "& pepper", "a&&&b"])
@example(["line\u2028separator", "nul\0", "\x85next"])
def test_cleaned_captions_can_be_joined_and_split_again(captions: list[str]) -> None:
    cleaned = [text for text in map(clean, captions) if text]
    joined = "&&".join(cleaned)
    assert joined.split("&&") == (cleaned or [""])
    assert len(joined.splitlines()) <= 1
    assert "\t" not in joined
    assert [clean(text) for text in cleaned] == cleaned


def test_real_photos(shared: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    photos = shared / "data" / "flickr-photos"
    captions = tmp_path / "captions.csv"
    lines = (photos / "captions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    captions.write_text("".join(lines[:1] + [line for line in lines if line.startswith("test,")]), encoding="utf-8")
    flags = ["--images", photos / "images", "--captions", captions, "--out", tmp_path / "out"]
    flags += ["--bpe-dir", shared / "data" / "gpt2-bpe"]
    prepare.run(parser.parse_args(["photos", *map(str, flags)]))
    file = TsvFile(tmp_path / "out" / "test.tsv", COLUMNS["captioning"])
    assert len(file) == 100
    for index in range(len(file)):
        _, image_id, references, _, text = file[index]
        assert len(references.split("&&")) == 5
        with Image.open(photos / "images" / f"{image_id}.jpg") as image:
            assert (np.asarray(decode_image(text)) == np.asarray(image)).all()

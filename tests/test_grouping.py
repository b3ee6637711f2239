"""Rows of an image joined to one with all its captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from narvl.cli import main
from narvl.data.vocabulary import BPE_FILES
from narvl.distillation.rows import write_teacher_rows
from narvl.errors import DataError, UsageError
from narvl.grouping import Grouped, group_captions

ROWS = ["0\tb\tone dog\tdog\tI1", "1\ta\ta cat\t\tI2", "2\tb\tthe dog&&a dog\t\tI1", "3\tb\tone dog\t\tI1"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.tsv").write_text("".join(f"{row}\n" for row in ROWS))
    for name in (*BPE_FILES, "valid.tsv"):
        (folder / name).write_text(name)
    return folder


def test_each_image_keeps_its_first_row_and_gets_all_captions(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert group_captions(data, out) == Grouped(rows=4, images=2, captions=5)
    assert (out / "train.tsv").read_text() == ("0\tb\tone dog&&the dog&&a dog&&one dog\tdog\tI1\n1\ta\ta cat\t\tI2\n")
    assert sorted(path.name for path in out.iterdir()) == sorted([*BPE_FILES, "train.tsv", "valid.tsv"])
    assert (out / "valid.tsv").read_text() == "valid.tsv"


def test_the_command_tells_what_was_joined(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["group", "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    assert "4 rows joined to 2, 5 captions" in capsys.readouterr().out


def test_what_cannot_be_joined_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same folder as --data"):
        group_captions(data, data / ".." / "data")
    with pytest.raises(DataError, match="train.tsv: no such file"):
        group_captions(tmp_path, tmp_path / "out")
    (data / "train.tsv").write_text("0\tb\tone dog\n")
    with pytest.raises(DataError, match="row 1: 3 columns, expected 5"):
        group_captions(data, tmp_path / "out")
    assert not (tmp_path / "out" / "train.tsv").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("4\t \ta bird\t\tI3", r"train\.tsv, row 5: the image-id \(column 2\) is empty"),
        ("4\ta\ta bird\t\tI3", r"train\.tsv, row 5: .* 'a' is that of row 2, but the image is another"),
        ("4\tc\tleft bird\t1.5,2,30,40\tI3", r"train\.tsv, row 5: column 4 is a box. Give a folder of captions"),
    ],
)
def test_images_that_cannot_be_told_apart_are_refused(data: Path, tmp_path: Path, row: str, message: str) -> None:
    with (data / "train.tsv").open("a") as file:
        file.write(f"{row}\n")
    for make in (group_captions, write_teacher_rows):
        with pytest.raises(DataError, match=message):
            make(data, tmp_path / "out")


def test_other_splits_come_along_through_links(data: Path, tmp_path: Path) -> None:
    """A link's second name would be a link that leads from another folder to nothing."""
    real = tmp_path / "elsewhere" / "raw.tsv"
    real.parent.mkdir()
    real.write_text("split")
    for name in ("testA.tsv", "test-dev.tsv"):
        (data / name).symlink_to(Path("..") / "elsewhere" / "raw.tsv")
    (data / "candidates.txt").write_text("yes")
    out = tmp_path / "a" / "b"
    group_captions(data, out)
    assert [(out / name).read_text() for name in ("testA.tsv", "test-dev.tsv", "candidates.txt")] == [
        *("split", "split"),
        "yes",
    ]

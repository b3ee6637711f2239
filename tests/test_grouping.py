"""Rows of an image joined to one with all its captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from narvl.cli import main
from narvl.data.vocabulary import BPE_FILES
from narvl.errors import DataError, UsageError
from narvl.grouping import Grouped, group_captions

ROWS = ["0\tb\tone dog\tdog\tI1", "1\ta\ta cat\t\tI2", "2\tb\tthe dog&&a dog\t\tother", "3\tb\tone dog\t\tother"]


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

"""The rows that a teacher decodes: chosen by task, images as they are, nothing lost of the old folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from narvl.distillation.folder import read_task
from narvl.distillation.rows import write_teacher_rows
from narvl.errors import DataError, UsageError


def test_captioning_keeps_the_first_row_of_each_image(begin: Callable) -> None:
    rows = [["0", "b", "x", "", "not base64!"], ["1", "a", "y", "", "!!"], ["2", "b", "z", "", "not base64!"]]
    out = begin("captioning", rows)
    assert (out / "teacher.tsv").read_text() == "0\tb\tx\t\tnot base64!\n1\ta\ty\t\t!!\n"
    assert read_task(out) == "captioning"
    assert (out / "valid.tsv").read_text() == "valid.tsv"
    assert not (out / "train.tsv").exists()


def test_vqa_keeps_every_row_without_copying_any(questions: Callable, tmp_path: Path) -> None:
    out = questions(5)
    assert (out / "teacher.tsv").samefile(tmp_path / "data" / "train.tsv")
    assert read_task(out) == "vqa"


def test_rows_can_be_written_again(questions: Callable, tmp_path: Path) -> None:
    out = questions(5)
    assert write_teacher_rows(tmp_path / "data", out, "vqa") == 5
    assert sorted(path.name for path in out.glob("*.partial")) == []


@pytest.mark.parametrize("task", ["captioning", "vqa"])
def test_rows_in_another_order_are_refused_once_texts_are_there(
    captions: Callable, questions: Callable, tmp_path: Path, task: str
) -> None:
    """Texts are matched with rows by their places: these would get each other's."""
    out = (captions if task == "captioning" else questions)(4)
    train = tmp_path / "data" / "train.tsv"
    rows = train.read_text().splitlines(keepends=True)
    train.unlink()
    train.write_text("".join(reversed(rows)))
    write_teacher_rows(tmp_path / "data", out, task)
    (out / "shards").mkdir()
    (out / "shards" / "0-of-1.txt").touch()
    write_teacher_rows(tmp_path / "data", out, task)
    train.unlink()
    train.write_text("".join(rows))
    with pytest.raises(UsageError, match="shards/ holds a teacher's texts for other rows"):
        write_teacher_rows(tmp_path / "data", out, task)


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "train.tsv").write_text("q\tim\twhat?\t1.0|!+yes\t\tI\n")
    assert write_teacher_rows(tmp_path, tmp_path / "out", "vqa") == 1
    assert (tmp_path / "out" / "teacher.tsv").read_text() == (tmp_path / "train.tsv").read_text()


def test_what_cannot_be_distilled_is_refused(begin: Callable, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("0\tim\ta caption\t\tI\n")
    with pytest.raises(UsageError, match="--task grounding.*captioning, vqa"):
        write_teacher_rows(tmp_path, tmp_path / "out", "grounding")
    with pytest.raises(UsageError, match="same folder as --data"):
        write_teacher_rows(tmp_path, tmp_path / "x" / "..", "captioning")
    with pytest.raises(DataError, match="row 1: 5 columns, expected 6"):
        write_teacher_rows(tmp_path, tmp_path / "out", "vqa")
    with pytest.raises(DataError, match="train.tsv: no such file"):
        write_teacher_rows(tmp_path / "none", tmp_path / "out", "vqa")
    assert not (tmp_path / "out" / "distill.json").exists()


def test_a_folder_in_the_note_s_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "distill.json").mkdir()
    with pytest.raises(DataError, match="distill.json: damaged .*Is a directory.*Run narvl distill rows again"):
        read_task(tmp_path)


@pytest.mark.parametrize("note", ["", "[]", '{"task": "grounding"}', "{}", "[" * 100_000])
def test_a_damaged_note_is_named(tmp_path: Path, note: str) -> None:
    with pytest.raises(DataError, match="distill.json: no such file.*narvl distill rows"):
        read_task(tmp_path)
    (tmp_path / "distill.json").write_text(note)
    with pytest.raises(DataError, match="distill.json: .*Run narvl distill rows again"):
        read_task(tmp_path)

"""A student's data folder as the first step leaves it, and results as fairseq-generate writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from narvl.data.vocabulary import BPE_FILES
from narvl.distillation.rows import write_teacher_rows


@pytest.fixture
def block() -> Callable[..., str]:
    """One row's lines: ``block(row, text, scores)``."""

    def make(row: int, text: str = "a dog", scores: Sequence[float] = (-1.0, -0.5)) -> str:
        mean = sum(scores) / len(scores)
        tokens = " ".join("12" for _ in scores[1:])  # the last score is the end's
        head = f"S-{row}\twhat?\nT-{row}\ta cat\nH-{row}\t{mean}\t{tokens}\nD-{row}\t{mean}\t {text}\n"
        return f"{head}P-{row}\t{' '.join(f'{score:.4f}' for score in scores)}\n"

    return make


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Path]:
    """Begin a folder: ``begin(task, rows)``; returns it."""

    def make(task: str, rows: Sequence[Sequence[str]]) -> Path:
        data, out = tmp_path / "data", tmp_path / "out"
        data.mkdir()
        for name in (*BPE_FILES, "valid.tsv"):
            (data / name).write_text(name)
        (data / "train.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
        write_teacher_rows(data, out, task)
        return out

    return make


@pytest.fixture
def captions(begin: Callable) -> Callable[..., Path]:
    """A folder of ``count`` images with a caption each."""
    return lambda count: begin("captioning", [[f"u{i}", f"im{i}", f"human {i}", "", f"IMAGE{i}"] for i in range(count)])


@pytest.fixture
def questions(begin: Callable) -> Callable[..., Path]:
    """A folder of ``count`` questions, answered 0.3 no, 0.9 human."""

    def make(count: int, answers: str = "0.3|!+no&&0.9|!+human") -> Path:
        return begin("vqa", [[f"q{i}", f"im{i // 2}", "what?", answers, "", f"IMAGE{i // 2}"] for i in range(count)])

    return make

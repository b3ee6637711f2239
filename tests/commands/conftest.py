"""Small data of each task, and results as fairseq-generate writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a data folder of scenes: ``task_data("vqa")``; each task's is made once and must not be changed."""
    from narvl.scenes.write import Plan, write_scenes

    made: dict[str, Path] = {}

    def make(task: str) -> Path:
        if task not in made:
            made[task] = tmp_path_factory.mktemp(task)
            write_scenes(Plan(task=task, scenes=(4, 4, 6), seed=5), made[task])
        return made[task]

    return make


@pytest.fixture(scope="session")
def read_tsv() -> Callable[[Path], list[list[str]]]:
    """Read a TSV file's fields."""
    return lambda path: [line.split("\t") for line in path.read_text().splitlines()]


@pytest.fixture(scope="session")
def write_generated() -> Callable[[Path, Sequence[str]], Path]:
    """Write a results file of fairseq-generate into a folder, made if missing: ``write_generated(folder, texts)``."""

    def write(folder: Path, texts: Sequence[str]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        blocks = [
            f"S-{index}\tsource\nT-{index}\ttarget\nH-{index}\t-0.5\t1 2\nD-{index}\t-0.5\t{text}\nP-{index}\t-0.5\n"
            for index, text in enumerate(texts)
        ]
        path = folder / "generate-test.txt"
        path.write_text("".join(reversed(blocks)))
        return path

    return write

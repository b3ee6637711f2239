"""A public data set in miniature: annotation files in their published formats, images, and the command."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from narvl import provenance
from narvl.commands import prepare
from narvl.data.tsv import COLUMNS, TsvFile

BPE = {"encoder.json": "{}", "vocab.bpe": "#version: 0.2\n", "dict.txt": "0 1\n"}


class DataSet:
    """Folders for the raw files and for what is made of them, and the command that does it."""

    def __init__(self, path: Path, source: str, task: str) -> None:
        self.path = path
        self.source = source
        self.task = task
        self.raw = path / "raw"
        self.images = path / "images"
        self.bpe = path / "bpe"
        self.out = path / "out"
        for folder in (self.raw, self.images, self.bpe):
            folder.mkdir()
        for name, text in BPE.items():
            (self.bpe / name).write_text(text)

    def image(self, name: str, size: tuple[int, int] = (8, 6), seed: int = 0) -> Path:
        path = self.images / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (seed * 37 % 256, seed * 91 % 256, 200)).save(path)
        return path

    def write(self, name: str, content: Any) -> Path:
        path = self.raw / name
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def arguments(self, *flags: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        prepare.add_arguments(parser)
        paths = {"--annotations": self.raw, "--images": self.images, "--out": self.out, "--bpe-dir": self.bpe}
        given = [str(part) for flag, path in paths.items() if flag not in flags for part in (flag, path)]
        return parser.parse_args([self.source, *given, *flags])

    def prepare(self, *flags: str) -> None:
        prepare.run(self.arguments(*flags))

    def rows(self, split: str) -> list[list[str]]:
        """All columns but the image."""
        image = COLUMNS[self.task].index("image")
        return [row[:image] + row[image + 1 :] for row in self.full_rows(split)]

    def full_rows(self, split: str) -> list[list[str]]:
        file = TsvFile(self.out / f"{split}.tsv", COLUMNS[self.task])
        return [file[index] for index in range(len(file))]

    def summary(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.out / "prepare.json").read_text())
        return loaded

    def refused(self, kind: type[ValueError], *words: str, flags: tuple[str, ...] = ()) -> None:
        """Check that the command stops with one line that holds the words, and writes no split."""
        with pytest.raises(kind) as error:
            self.prepare(*flags)
        message = str(error.value)
        assert "\n" not in message
        for word in words:
            assert word in message
        assert not list(self.out.glob("*.tsv"))


source_version = functools.cache(provenance.source_version)


@pytest.fixture(autouse=True)
def ask_git_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each conversion notes the source version; these tests run hundreds."""
    monkeypatch.setattr(provenance, "source_version", source_version)


@pytest.fixture
def make_data_set(tmp_path: Path) -> Callable[[str, str], DataSet]:
    """Make the folders of a data set: ``make_data_set(source, task)``."""
    return lambda source, task: DataSet(tmp_path, source, task)

"""Preparation: narvl prepare coco on generated photos, which it makes smaller."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from interrupted.stops import FULL_DISK, KILL, TERMINATE
from interrupted.work import Work, different_names
from narvl.scenes.write import Plan, write_scenes

_SPLITS = {"restval": 500, "val": 120, "test": 80}
_PHOTOS = 50  # different ones
_SIDE = 448


class Prepare(Work):
    """COCO's captions in Karpathy's split. It works in threads: there is no worker process to kill."""

    stops = (KILL, TERMINATE, FULL_DISK)

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        write_scenes(Plan(scenes=(1, 1, 1), seed=seed), folder / "bpe")
        images = folder / "val2014"
        images.mkdir()
        rng = np.random.default_rng(seed)
        for number in range(_PHOTOS):
            coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(images / f"photo{number}.jpg")
        records: list[dict[str, Any]] = []
        for split, count in _SPLITS.items():
            for _ in range(count):
                number = len(records) + 1
                name = f"COCO_val2014_{number:012d}.jpg"
                os.link(images / f"photo{number % _PHOTOS}.jpg", images / name)
                sentences = [{"raw": f"A photo number {number}.", "sentid": number}]
                record = {"filename": name, "filepath": "val2014", "cocoid": number, "sentences": sentences}
                records.append({**record, "split": split, "sentids": [number]})
        (folder / "dataset_coco.json").write_text(json.dumps({"images": records, "dataset": "coco"}))

    def command(self, out: Path) -> list[str]:
        """Convert."""
        paths = {"--annotations": "dataset_coco.json", "--images": "val2014", "--bpe-dir": "bpe"}
        given = [word for flag, name in paths.items() for word in (flag, str(self._folder / name))]
        how = ["--out", str(out), "--workers", "1", "--max-side", str(_SIDE)]
        return [sys.executable, "-m", "narvl.cli", "prepare", "coco", *given, *how]

    def begun(self, out: Path) -> bool:
        """Tell whether the first split is open."""
        return (out / ".prepare" / "train.tsv").is_file()

    def damages(self, out: Path, whole: Path) -> list[str]:
        """Compare whatever has its name already."""
        return [f"{name} is not whole" for name in _splits(out) if not _same(out / name, whole / name)]

    def state(self, out: Path) -> dict[str, Any] | None:
        """Return the journal."""
        path = out / ".prepare" / "journal.json"
        return json.loads(path.read_text())["splits"] if path.is_file() else None

    def repeats(self, state: dict[str, Any] | None, out: Path, lines: list[str]) -> list[str]:
        """Compare the first images that were converted with those that the journal had left."""
        found = [line for line in lines if "begins anew" in line]
        starts: dict[str, int] = {}
        for line in lines:
            if shown := re.match(r"(train|valid|test): .*\| (\d+)/\d+ \[", line):
                starts.setdefault(shown[1], int(shown[2]))
        for split, progress in (state or {}).items():
            if not progress["complete"] and starts.get(split) != progress["done"]:
                found.append(f"{split}: began at image {starts.get(split)}, not {progress['done']}")
        return found

    def differences(self, out: Path, whole: Path) -> list[str]:
        """Compare the splits byte for byte."""
        differ = [f"{name} differs" for name in _splits(whole) if not _same(out / name, whole / name)]
        return different_names(out, whole) + differ


def _splits(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.tsv"))


def _same(ours: Path, theirs: Path) -> bool:
    return ours.is_file() and ours.read_bytes() == theirs.read_bytes()

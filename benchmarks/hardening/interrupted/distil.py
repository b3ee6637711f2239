"""Distillation: narvl distill decode on a shard, and the student's training file made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from interrupted.process import ROOT
from interrupted.train import TASK, script
from interrupted.work import Work
from narvl.distillation.rows import write_teacher_rows
from narvl.distillation.targets import write_targets
from narvl.errors import DataError
from narvl.evaluation.generations import iterate_generations
from narvl.scenes.write import Plan, write_scenes

_ROWS = 240
_DECODING = ("--beam", "2", "--max-len-b", "6", "--batch-size", "2")
_TEACHER = """
    --task captioning --arch ofa_nano --criterion label_smoothed_cross_entropy --optimizer adam --lr 1e-3
    --batch-size 2 --max-update 1 --disable-validation --no-save-optimizer-state --no-epoch-checkpoints
"""


class Distil(Work):
    """A teacher of random weights, so large that the image decides what it says."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._data = folder / "data"
        self._teacher = folder / "teacher.pt"
        write_scenes(Plan(scenes=(_ROWS, 1, 1), seed=seed), self._data)
        flags = [*TASK, *_TEACHER.split(), "--save-dir", str(folder)]
        train = [script("fairseq-train"), str(self._data), *flags]
        subprocess.run(train, check=True, capture_output=True, cwd=ROOT)
        state = torch.load(folder / "checkpoint_last.pt", weights_only=True)
        for name, weights in state["model"].items():
            if name.startswith("decoder") and weights.dim() == 2 and "embed" not in name:
                weights *= 4
        torch.save(state, self._teacher)

    def begin(self, out: Path) -> None:
        """Write the rows that the teacher decodes."""
        write_teacher_rows(self._data, out)

    def command(self, out: Path) -> list[str]:
        """Decode."""
        decode = [sys.executable, "-m", "narvl.cli", "distill", "decode", "--out", str(out), "--"]
        return [*decode, *TASK[2:], "--path", str(self._teacher), *_DECODING]

    def begun(self, out: Path) -> bool:
        """Tell whether a row is decoded."""
        path = _shard(out)
        return path.is_file() and b"\nP-" in path.read_bytes()

    def size(self, out: Path) -> int:
        """Return the size of the results file in bytes."""
        return _shard(out).stat().st_size

    def damages(self, out: Path, whole: Path) -> list[str]:
        """Find rows that came back twice, and a training file of unfinished results."""
        rows, _ = _entries(_shard(out))
        twice = [f"row {row} came back twice" for row in sorted(set(rows)) if rows.count(row) > 1]
        return twice + ["train.tsv is there"] * (out / "train.tsv").is_file()

    def state(self, out: Path) -> bytes:
        """Return what the results file holds of whole rows."""
        _, end = _entries(_shard(out))
        return _shard(out).read_bytes()[:end]

    def repeats(self, state: bytes, out: Path, lines: list[str]) -> list[str]:
        """Compare the rows decoded before."""
        rows, _ = _entries(_shard(out))
        kept = _shard(out).read_bytes().startswith(state)
        counted = [] if sorted(rows) == list(range(_ROWS)) else [f"{len(rows)} rows, {len(set(rows))} different"]
        return counted if kept else [*counted, "what was decoded is not kept"]

    def differences(self, out: Path, whole: Path) -> list[str]:
        """Compare the students' training files."""
        for folder in (out, whole):
            write_targets(folder)
        same = (out / "train.tsv").read_bytes() == (whole / "train.tsv").read_bytes()
        return [] if same else ["train.tsv differs"]


def _shard(out: Path) -> Path:
    return out / "shards" / "0-of-1.txt"


def _entries(path: Path) -> tuple[list[int], int]:
    """Return the rows that a results file holds whole, and the byte behind the last of them."""
    rows, end = [], 0
    with path.open("rb") as handle:
        try:
            for entry in iterate_generations(handle, path, unfinished=True):
                rows.append(entry.row)
                end = entry.end
        except DataError:
            return rows, end
    return rows, end

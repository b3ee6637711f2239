"""Training: fairseq-train on scenes, with a checkpoint every few updates."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from interrupted.process import ROOT
from interrupted.work import Work, different_names
from narvl.scenes.write import Plan, write_scenes

TASK = ["--user-dir", str(ROOT / "narvl"), "--patch-image-size", "64", "--code-dict-size", "0", "--num-bins", "64"]
TASK += ["--cpu", "--num-workers", "1"]
_LENGTH = 30
_LAST = "checkpoint_last.pt"
_TOLERANCE = 1e-6

_FLAGS = f"""
    --task captioning --arch narvl_nano --dropout 0.1 --decoder-drop-path-rate 0.1 --criterion query_ctc
    --optimizer adam --lr 1e-3 --clip-norm 1.0
    --lr-scheduler polynomial_decay --warmup-updates 3 --total-num-update {_LENGTH} --max-update {_LENGTH}
    --batch-size 4 --required-batch-size-multiple 1 --seed 1 --store-ema --ema-decay 0.9 --ema-fp32
    --save-interval-updates 3 --keep-interval-updates 2 --no-epoch-checkpoints --log-format json --log-interval 1
"""


def script(name: str) -> str:
    """Return the path of a command that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


class Train(Work):
    """A nano model on scenes; dropout shows whether random numbers go on where they were."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._data = folder / "data"
        write_scenes(Plan(scenes=(24, 6, 1), seed=seed), self._data)

    def command(self, out: Path) -> list[str]:
        """Train."""
        return [script("fairseq-train"), str(self._data), *TASK, *_FLAGS.split(), "--save-dir", str(out)]

    def begun(self, out: Path) -> bool:
        """Tell whether a checkpoint is on its way."""
        return any(out.glob("*.pt*"))

    def damages(self, out: Path, whole: Path) -> list[str]:
        """Load every checkpoint."""
        found = []
        for path in out.glob("*.pt"):
            try:
                torch.load(path, weights_only=True)
            except Exception as error:  # whatever torch says of a damaged file
                found.append(f"{path.name} does not load ({type(error).__name__})")
        return found

    def state(self, out: Path) -> int:
        """Return the update of the last checkpoint."""
        return _read(out / _LAST)["optimizer_history"][-1]["num_updates"] if (out / _LAST).is_file() else 0

    def repeats(self, state: int, out: Path, lines: list[str]) -> list[str]:
        """Compare the updates that were made with those that were left."""
        made = [int(record["num_updates"]) for record in _records(lines)]
        left = list(range(state + 1, _LENGTH + 1))
        return [] if made == left else [f"made the updates {made[:3]}... instead of {left[:3]}..."]

    def differences(self, out: Path, whole: Path) -> list[str]:
        """Compare the last and the best weights, and their averages."""
        found = different_names(out, whole)
        for name in (_LAST, "checkpoint_best.pt"):
            ours, theirs = _read(out / name), _read(whole / name)
            pairs = {
                "weights": (ours["model"], theirs["model"]),
                "averages": (ours["extra_state"]["ema_fp32_params"], theirs["extra_state"]["ema_fp32_params"]),
            }
            for what, (our, their) in pairs.items():
                off = max(float((tensor.double() - their[key].double()).abs().max()) for key, tensor in our.items())
                if off > _TOLERANCE:
                    found.append(f"{name}: {what} differ by {off:.1e}")
            if ours["extra_state"]["train_iterator"] != theirs["extra_state"]["train_iterator"]:
                found.append(f"{name}: another place in the data")
        return found


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def _records(lines: list[str]) -> list[dict[str, str]]:
    marker = " | train_inner | "
    return [json.loads(line.partition(marker)[2]) for line in lines if marker + "{" in line]

"""When trainings settle: read from their logs, kept from run to run, told in a table and a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import records
import settling
import tables

from narvl.errors import DataError

LINE = (
    "2026-01-01 00:00:00 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 4.2 | unreachable 0"
    " | cider {} | wps 1.0 | num_updates {} | best_cider 99\n"
)


def trained(runs: Path, run: str, seed: int, ciders: dict[int, float], commit: str = "a" * 40) -> None:
    folder = runs / "captioning" / run / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"provenance": {"commit": commit, "seed": seed}}))
    (folder / "log.txt").write_text("other lines\n" + "".join(LINE.format(*pair[::-1]) for pair in ciders.items()))


def test_runs_are_read_added_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (settling, tables, records):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    trained(tmp_path / "first", "narvl-references", 1, {200: 150.5, 400: 401.0, 600: 399.0})
    trained(tmp_path / "first", "narvl-teacher-free", 1, {200: 100.0, 400: 200.0})
    trained(tmp_path / "second", "narvl-references", 3, {200: 400.0}, "b" * 40)
    for runs in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["settling.py", str(tmp_path / runs)])
        settling.main()
    said = tables.settling()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in map(_cells, said.splitlines()) if cells
    }
    assert rows["all"] == ["400", "200"]
    assert rows["one at a time"] == ["never", "not run"]
    assert f"Runs of commit {'a' * 10}, {'b' * 10}." in said
    assert "<svg" in (tmp_path / "settling.svg").read_text()


def test_a_log_without_validation_is_named(tmp_path: Path) -> None:
    trained(tmp_path, "narvl-references", 1, {})
    with pytest.raises(DataError, match="log.txt: no validation in it"):
        settling.collect(tmp_path, {})


def _cells(line: str) -> list[str]:
    return line.split("|") if line.startswith("|") else []

"""Where models differ: the truth is wholly right, nonsense wholly wrong, and the figures are of the runs' version."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kinds
import pytest
import records

from narvl.data import entailment, vqa
from narvl.data.boxes import to_fractions
from narvl.data.grounding import box
from narvl.data.image import upright_size
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError
from narvl.scenes.write import Plan, write_scenes


def truth(task: str, fields: list[str]) -> str:
    """Say the right output as fairseq-generate writes it."""
    if task == "vqa":
        return max(vqa.answers(fields))[1]
    if task == "entailment":
        return entailment.label(fields) or ""
    corners = box(fields)
    assert corners is not None
    return " ".join(map(str, to_fractions(corners, *upright_size(fields[4]))))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs of which AR says the truth and NARVL nonsense."""
    for task in kinds.KINDS:
        data = tmp_path / "data" / task
        write_scenes(Plan(task=task, scenes=(1, 1, 4), seed=2), data)
        rows = TsvFile(data / "test.tsv", COLUMNS[task])
        for name, said in (("ofa", lambda fields, task=task: truth(task, fields)), ("narvl", lambda _: "nonsense")):
            folder = tmp_path / task / name / "seed1" / "decoded"
            folder.mkdir(parents=True)
            lines = [f"H-{row}\t-0.5\t1\nD-{row}\t-0.5\t{said(rows[row])}\n" for row in range(len(rows))]
            (folder / "generate-test.txt").write_text("".join(lines))
            (folder / "scores-test.json").write_text(json.dumps({"provenance": {"commit": "c" * 40, "dirty": True}}))
    return tmp_path


def test_truth_and_nonsense(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["kinds.py", str(runs)])
    kinds.main()
    record = json.loads((tmp_path / "results" / "kinds.json").read_text())
    assert (record["provenance"]["commit"], record["provenance"]["dirty"]) == ("c" * 40, True)
    assert list(record["tasks"]) == list(kinds.KINDS)
    for task, found in record["tasks"].items():
        rows = len(TsvFile(runs / "data" / task / "test.tsv", COLUMNS[task]))
        assert sum(figures["samples"] for figures in found["AR"].values()) == rows
        assert all(figures["right"] > 0.3 for figures in found["AR"].values()), "answers share the annotators' votes"
        assert all(figures["right"] == 0 for figures in found["NARVL"].values())


def test_runs_that_are_missing_or_of_several_versions(runs: Path, tmp_path: Path) -> None:
    scores = runs / "vqa" / "narvl" / "seed1" / "decoded" / "scores-test.json"
    scores.write_text(json.dumps({"provenance": {"commit": "d" * 40}}))
    with pytest.raises(DataError, match="scored by versions c{40}, d{40}"):
        kinds.provenance_of(runs)
    scores.unlink()
    with pytest.raises(DataError, match="nothing decoded. Run: narvl tables table1"):
        kinds.decoded(runs, "vqa", "narvl")

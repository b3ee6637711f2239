"""The pages' generated sections: between known markers alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import collect
import pytest
import records
import tables


def test_sections_are_filled_between_their_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SECTIONS", {"speed": lambda: "[a](results/a.json) \\d"})
    text = "before <!-- begin speed -->old<!-- end speed --> after"
    filled = "before <!-- begin speed -->\n[a](../results/a.json) \\d\n<!-- end speed --> after"
    assert tables.fill(text, "../") == (filled, {"speed"})


@pytest.mark.parametrize("text", ["<!-- begin sped -->99.9%<!-- end sped -->", "<!-- begin a name -->"])
def test_markers_of_no_section_are_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="markers of no section: (sped|a name). There are: quickstart, "):
        tables.fill(text, "")


def test_what_is_said_of_the_photos_is_in_their_records() -> None:
    prose = tables.photos()
    ciders = [float(cells[6]) for cells in _cells(tables.photos_references())[2:]]
    assert "50 photos" in prose and f"CIDEr on test photos is {min(ciders)} to {max(ciders)}" in prose


@pytest.mark.parametrize("found", [[], [{"id": "PYSEC-1"}]])
def test_advisories_are_collected_and_told(
    found: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = {"name": "known", "version": "1.0", "vulns": found}
    skipped = {"name": "older", "skip_reason": "not found"}
    (tmp_path / "audit.json").write_text(json.dumps({"dependencies": [answered, skipped]}))
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    collect.advisories(tmp_path)
    said = tables.SECTIONS["hardening-advisories"]()
    assert said.startswith("1 of 2 pinned packages were answered for: ") and "Not answered for: older." in said
    assert ("no known advisory." in said) != bool(found) and ("PYSEC-1" in said) == bool(found)
    assert "results/advisories.json" in said


def test_photos_learned_in_ways_that_have_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    made = {"commit": "c" * 40, "seed": None, "machine": {"cpu": "x", "cores": 2, "accelerator": "none"}}
    for name, meteor in {"plain": None, "ar": 0.25}.items():
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        metrics = {"BLEU-1": 0.5, "BLEU-4": 0.125, "METEOR": meteor, "ROUGE-L": 0.25, "CIDEr": 0.75}
        (folder / "scores-test.json").write_text(json.dumps({"metrics": metrics, "samples": 2, "provenance": made}))
        (folder / "generate-test.txt").write_text("D-0\t-0.5\ta red ring\nD-1\t-0.5\ta red ring\n")
        (folder / "train.log").write_text("{'seed': 7}")
    collect.references(tmp_path / "run")
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in _cells(tables.photos_references())}
    assert rows["one at a time"] == ["50.0", "12.5", "not run", "25.0", "75.0", "1", "3.0"]
    assert rows["AR"] == ["50.0", "12.5", "25.0", "25.0", "75.0", "1", "3.0"]
    assert rows["distilled"] == ["not run"] * 7
    # A later run, of a later version and without the earlier one's files, adds its models.
    later = tmp_path / "later"
    (tmp_path / "run" / "ar").rename(tmp_path / "distilled")
    later.mkdir()
    (tmp_path / "distilled").rename(later / "distilled")
    scores = json.loads((later / "distilled" / "scores-test.json").read_text())
    scores["provenance"]["commit"] = "d" * 40
    (later / "distilled" / "scores-test.json").write_text(json.dumps(scores))
    collect.references(later)
    said = tables.photos_references()
    rows = {cells[1].strip(): cells[2:-1] for cells in _cells(said)}
    assert rows["AR"][0].strip() == rows["distilled"][0].strip() == "50.0"
    assert f"commit {'c' * 10}, {'d' * 10}" in said


def test_every_model_of_the_photos_has_a_row() -> None:
    script = (tables.ROOT / "benchmarks" / "photos_references.sh").read_text()
    known = re.search(r"^known=\((.*)\)$", script, re.MULTILINE)
    assert known is not None
    assert set(known[1].split()) == set(tables._LEARNED)


def _cells(table: str) -> list[list[str]]:
    return [line.split("|") for line in table.splitlines() if line.startswith("|")]

"""The pages' generated sections: between known markers alone."""

from __future__ import annotations

import json
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
    prose = tables.photos().partition("|")[0]
    assert "50 photos" in prose and "700" not in prose and "updates" not in prose


@pytest.mark.parametrize("found", [[], [{"id": "PYSEC-1"}]])
def test_advisories_are_collected_and_told(
    found: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = {"name": "known", "version": "1.0", "vulns": found}
    skipped = {"name": "older", "skip_reason": "not found"}
    (tmp_path / "audit.json").write_text(json.dumps({"dependencies": [answered, skipped]}))
    monkeypatch.setattr(collect, "RESULTS", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    collect.advisories(tmp_path)
    said = tables.SECTIONS["hardening-advisories"]()
    assert said.startswith("1 of 2 pinned packages were answered for: ") and "Not answered for: older." in said
    assert ("no known advisory." in said) != bool(found) and ("PYSEC-1" in said) == bool(found)
    assert "results/advisories.json" in said

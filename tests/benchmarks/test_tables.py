"""The pages' generated sections: between known markers alone."""

from __future__ import annotations

import pytest
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

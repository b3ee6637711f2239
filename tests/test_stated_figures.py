"""Figures in README and docs are written by scripts, or stated with their source in results/stated.json."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Pages that a command writes whole, from results files (checked by benchmarks/tables.py --check).
GENERATED = re.compile(r"^Written by `narvl tables ", re.MULTILINE)
#: What is no figure of prose: what scripts fill in, code, addresses.
LEFT_OUT = re.compile(
    r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->|```.*?```|`[^`\n]*`|\]\([^)]*\)", re.DOTALL | re.MULTILINE
)
NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
UNIT = (
    r"%|x\b|times\b|ms\b|s\b|seconds?\b|minutes?\b|hours?\b|[kMG]B\b|points?\b|CIDEr\b|"
    r"(?:images|rows|captions|samples|tokens|steps|updates) (?:a|per) second\b"
)
#: A share, a factor with its x before it, a difference with its sign, a number with its unit, or a number alone.
FIGURE = re.compile(rf"(?<![\w.])(?:{NUMBER} of (?:the )?{NUMBER}|x{NUMBER}(?![\w-])|[+−-]?{NUMBER}(?:\s?(?:{UNIT}))?)")


def figures(text: str) -> list[str]:
    """Numbers that look measured: with a unit, a fraction, an exponent, or of three digits and more."""
    found = [match.group().strip(",") for match in FIGURE.finditer(LEFT_OUT.sub(" ", text))]
    return [word for word in found if re.search(r"[.%a-z+−-]", word) or len(re.sub(r"\D", "", word)) >= 3]


def stated() -> dict[str, dict[str, str]]:
    return json.loads((ROOT / "results" / "stated.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_figure_is_without_a_source(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if GENERATED.search(text):
        return
    unknown = [word for word in figures(text) if word not in stated().get(page.name, {})]
    assert not unknown, "let a script write them from a results file, or name their source in results/stated.json"


def test_what_is_stated_is_said_somewhere() -> None:
    said = {page.name: figures(page.read_text(encoding="utf-8")) for page in PAGES}
    assert [(page, word) for page, words in stated().items() for word in words if word not in said.get(page, [])] == []
    assert all(len(source) > 10 for words in stated().values() for source in words.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("twice as fast, 2.4x, and 37 % less", ["2.4x", "37 %"]),
        ("took 12 minutes, 1,250 updates, table 1, beam 5", ["12 minutes", "1,250"]),
        ("`--lr 1e-5`\n```\n3.4 s\n```\n[a](b/3.14)\n## Table 1", []),
        (
            "63 of 64 rows, 95 images a second, x2.4 faster, +12 CIDEr",
            ["63 of 64", "95 images a second", "x2.4", "+12 CIDEr"],
        ),
        ("13x faster\n## 12% better\n x86-64, GPT-2", ["13x", "12%"]),
        ("within 1e-4\n<!-- begin t -->\n99.9%\n<!-- end t -->", ["1e-4"]),
    ],
)
def test_figures_are_found_in_prose_alone(text: str, found: list[str]) -> None:
    assert figures(text) == found

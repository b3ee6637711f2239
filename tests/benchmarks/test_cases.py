"""The cases of hardening: their tests exist, and are counted rightly where some fail or cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path

import hardening_tables
import pytest
import records

import cases
from narvl.errors import UsageError

_GOOD = """
import pytest
def test_good(): pass
def test_bad(): assert False
def test_left_out(): pytest.skip("not here")
@pytest.mark.parametrize("n", [1, 2])
def test_twice(n): assert n == 1
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "test_some.py").write_text(_GOOD)
    (folder / "test_newer.py").write_text("import what_came_later\ndef test_it(): pass\n")
    return folder


def test_counts(tree: Path, tmp_path: Path) -> None:
    assert cases.run_tests(tree, ["test_some.py"], tmp_path) == {
        "tries": 4,
        "failures": 2,
        "not_there": 0,
        "skipped": 1,
    }
    for newer in ("test_newer.py", "test_newer.py::test_it"):
        assert cases.run_tests(tree, [newer], tmp_path) == {
            "tries": 0,
            "failures": 0,
            "not_there": 1,
            "skipped": 0,
        }
    both = cases.run_tests(
        tree, ["test_newer.py::test_it", "test_some.py::test_good", "test_some.py::test_bad"], tmp_path
    )
    assert both == {"tries": 2, "failures": 1, "not_there": 1, "skipped": 0}
    with pytest.raises(UsageError, match="--before nonsense: .*Give a commit"):
        cases.check_out("nonsense", tmp_path)
    with pytest.raises(UsageError, match="--cases nonsense: no case's name has one of these"):
        cases.main(["--cases", "nonsense", "--out", str(tmp_path / "none.json")])
    for mistaken in ("--no-such-flag", "test_some.py::test_misspelt"):
        with pytest.raises(RuntimeError, match="pytest ended with"):
            cases.run_tests(tree, [mistaken], tmp_path)


def test_every_case_names_tests_that_exist() -> None:
    for tests in cases.CASES.values():
        for test in tests:
            file, *names = test.split("::")
            text = (cases.ROOT / file).read_text()
            assert all(f"def {name}(" in text or f"class {name}" in text for name in names), test


def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"tries": 3, "failures": 2, "not_there": 0, "skipped": 0}
    found = {
        "a": {"tests": [], "before": counts, "now": {**counts, "failures": 0}},
        "b": {"tests": [], "before": dict.fromkeys(counts, 0), "now": {**counts, "failures": 1}},
        "c": {"tests": [], "before": {**counts, "tries": 2, "not_there": 1}, "now": counts},
    }
    made = {"commit": "c" * 40, "seed": None, "machine": {"cpu": "x", "cores": 2, "accelerator": "none"}}
    for case, commit in zip(found.values(), "aba", strict=True):
        case["commit"] = commit * 40
    record = {"cases": found, "before": "abc", "provenance": made}
    (tmp_path / "hardening_cases.json").write_text(json.dumps(record))
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    lines = hardening_tables.SECTIONS["hardening-cases"]().splitlines()
    assert [line.split("|")[1:5] for line in lines[2:5]] == [
        [" a      ", "       3 ", " 2                 ", "              0 "],
        [" b      ", "       3 ", " not there         ", "              1 "],
        [" c      ", "       3 ", " 2 of 2            ", "              2 "],
    ]
    assert f"commit {'a' * 10}, {'b' * 10}, x, 2 cores" in lines[-1], "those of the cases, each once"

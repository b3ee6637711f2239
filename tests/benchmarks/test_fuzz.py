"""The fuzzer, shortly and always with the same inputs: no target has an unnamed crash, and it can tell one."""

from __future__ import annotations

import importlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import fuzz
from fuzzing import runner
from fuzzing.case import Case, refusal
from fuzzing.runner import run
from narvl.errors import DataError

#: Inputs of each target: about two seconds' work.
INPUTS = {"rows": 40, "boxes": 250, "collapse": 120, "answers": 250, "checkpoints": 25}
NUMBERS = st.integers()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_no_unnamed_crash(target: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # each skipped row is a warning
    cases = importlib.import_module(f"fuzzing.{target}").build(tmp_path)
    report = run(cases, seed=1, seeds=1, examples=INPUTS[target])
    assert [(crash.error, crash.where, crash.example) for crash in report.crashes.values()] == []
    assert report.examples >= INPUTS[target] / 2
    assert len({outcome.partition(":")[0] for outcome in report.outcomes}) == len(cases), "every case was drawn"


class TestRunner:
    """Cases that end badly in one way each."""

    def crash(self, check: Any, inputs: st.SearchStrategy[Any] = NUMBERS) -> runner.Crash:
        report = run([Case("bad", inputs, check)], seed=1, seeds=1, examples=50)
        [crash] = report.crashes.values()
        return crash

    def test_any_other_exception_is_told_with_the_simplest_input(self) -> None:
        def check(number: int) -> str:
            if number > 1000:
                raise KeyError("lost")
            return "small"

        crash = self.crash(check)
        assert (crash.error, crash.example) == ("bad: KeyError: 'lost'", "1001")
        assert "test_fuzz.py" in crash.where

    def test_an_error_that_does_not_name_its_row(self) -> None:
        crash = self.crash(lambda number: refusal(DataError("something is wrong"), "row 1"))
        assert "'row 1' is not named" in crash.error

    def test_a_hang(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner, "INPUT_SECONDS", 0.05)

        def check(_: object) -> str:
            try:
                time.sleep(5)
            except Exception:  # what reads damaged files may catch anything
                return "never"
            return "never"

        assert "TooLong" in self.crash(check, st.just(0)).error

    def test_a_flood_of_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peaks = iter(range(0, 1 << 60, 1 << 40))
        monkeypatch.setattr(runner, "_peak_bytes", lambda: next(peaks))
        assert "bytes" in self.crash(lambda _: "fed", st.just(0)).error

    def test_the_same_seed_draws_the_same(self) -> None:
        drawn: list[list[int]] = [[], []]
        for numbers in drawn:
            run([Case("any", st.integers(), lambda number, into=numbers: into.append(number) or "")], 3, seeds=2)
        assert drawn[0] == drawn[1] and len(drawn[0]) > 200

    def test_the_time_is_kept(self) -> None:
        report = run([Case("any", st.integers(), lambda _: "fine")], 1, seconds=0.3)
        assert 0.3 <= report.seconds < 5 and report.examples == report.outcomes["any: fine"] > 0


def test_the_command_keeps_other_targets_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "_limit_memory", lambda: None)
    monkeypatch.setattr(logging, "disable", lambda level: None)
    out = tmp_path / "fuzz.json"
    for target in ("boxes", "collapse"):
        assert fuzz.main(["--targets", target, "--seconds", "0.2", "--seed", "5", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert list(record["targets"]) == ["boxes", "collapse"]
    assert record["provenance"]["seed"] == 5
    for target in record["targets"].values():
        assert target["examples"] == sum(target["outcomes"].values()) > 0 and target["unnamed_crashes"] == []
    assert "boxes: " in capsys.readouterr().out

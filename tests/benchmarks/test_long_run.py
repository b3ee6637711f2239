"""What the long run measures: processes from outside, slopes, seconds an update; and the command itself, shortly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import long_run
from watching import Usage, descendants, fit, measure, step_times

#: Opens as many files as told, takes as many MB, starts itself once with the numbers after them, and waits.
PROGRAM = """
import subprocess, sys
files, megabytes, *below = map(int, sys.argv[1:])
held = [open(sys.executable, "rb") for _ in range(files)], bytearray(b"x") * (megabytes * 10**6)
if below:
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, below)], stdin=subprocess.PIPE)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def family() -> Iterator[subprocess.Popen]:
    """A process of 50 MB with 7 files, and below it one of 30 MB with 5."""
    program = PROGRAM.replace("PROGRAM", repr(PROGRAM), 1)
    argv = [sys.executable, "-c", program, "7", "50", "5", "30"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        yield process
        process.stdin.close()


def test_processes_are_measured_from_outside(family: subprocess.Popen) -> None:
    [child] = descendants(family.pid)
    assert descendants(child) == []
    assert child in descendants(os.getpid()) and family.pid in descendants(os.getpid())
    below = measure(child)
    both = measure(family.pid)
    assert below and both
    assert 50 < both.main_mb < 90
    assert 30 < both.workers_mb < 50 and 30 < below.main_mb < 70
    assert both.workers == 1 and below.workers == 0
    assert both.handles - below.handles >= 7 + 3 and below.handles >= 5 + 3


def test_a_process_that_has_ended_is_not_measured() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert process.wait() == 0
    assert measure(process.pid) is None


def test_a_line_is_found_in_noise() -> None:
    x = np.linspace(2, 10, 400)
    noise = np.random.default_rng(0).normal(0, 5, 400)
    trend = fit(x, 300 + 1.5 * x + noise)
    assert trend.slope == pytest.approx(1.5, abs=3 * trend.error)
    assert 0.05 < trend.error < 0.2
    assert (trend.start, trend.end) == pytest.approx((303, 315), abs=2)
    flat = fit(x, np.full(400, 7.0))
    assert (flat.slope, flat.error, flat.start, flat.end) == pytest.approx((0, 0, 7, 7), abs=1e-9)


def test_validation_does_not_move_the_time_of_an_update() -> None:
    updates = list(range(0, 1010, 10))
    pauses = [30.0 if update % 200 == 0 else 0.0 for update in updates]
    seconds = list(np.cumsum([0.5 + pause for pause in pauses]))
    middles, medians = step_times(seconds, updates, 5)
    assert medians == pytest.approx([0.05] * 5)
    assert middles[0] == pytest.approx(100) and middles[-1] == pytest.approx(900)


def test_memory_that_grows_is_seen() -> None:
    log = long_run.Log()
    log.updates = list(range(10, 5010, 10))
    log.seconds = [100 + update * 0.1 for update in log.updates]
    times = list(np.arange(90, 640, 5.0))  # it is measured before the first update, too
    usages = [Usage(400 + 0.1 * max(time - 100, 0), 80, 2, 50) for time in times]
    found = long_run.evaluate(log, times, usages)
    assert found["trends"]["main_mb"]["slope"] == pytest.approx(10), "MB a thousand updates of 100 s"
    assert [found["trends"][name]["slope"] for name in ("workers_mb", "handles")] == pytest.approx([0, 0], abs=1e-9)
    assert found["trends"]["step_ms"]["start"] == pytest.approx(100)
    assert found["trends"]["step_ms"]["slope"] == pytest.approx(0, abs=1e-6)
    assert len(found["samples"]) == len(times)
    assert "| memory of the trainer (MB) |" in long_run.table(found["trends"])


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "long_run.json"
    sizes = ["--updates", "60", "--scenes", "16", "--side", "32", "--interval", "0.1", "--log-interval", "2"]
    long_run.main([*sizes, "--out", str(out)])
    record = json.loads(out.read_text())
    assert (record["updates"], record["epochs"]) == (60, 3)
    assert record["validations"] >= 3 and record["checkpoints"] >= 10
    assert record["provenance"]["seed"] == 1
    assert max(sample["workers"] for sample in record["samples"]) >= 2
    assert record["trends"].keys() == {"main_mb", "workers_mb", "handles", "step_ms"}
    assert record["trends"]["main_mb"]["start"] > 100
    assert capsys.readouterr().out.startswith("60 updates in ")

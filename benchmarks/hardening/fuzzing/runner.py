"""Runs cases for a time: hypothesis with ever new seeds, under limits of time and memory for each input."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import strategies as st

from fuzzing.case import Case

#: An input that takes longer hangs whoever reads it.
INPUT_SECONDS = 20
#: Memory that one input may take on top of all before it. The largest image that may be decoded takes a third of it.
INPUT_BYTES = 2 << 30

_ROUND = 200  # inputs a seed
_EXAMPLE_CHARACTERS = 2000


class TooLong(BaseException):
    """An input took longer than ``INPUT_SECONDS``. No ``Exception``, which the code under test may catch."""


@dataclass
class Crash:
    """Inputs that ended in something else than an error that names itself.

    Attributes:
        error: what was raised.
        where: the lines that raised it, innermost last.
        example: the simplest of the inputs.
        times: how many inputs there were.
    """

    error: str
    where: str
    example: str
    times: int = 0


@dataclass
class Report:
    """What came of a run.

    Attributes:
        seconds: how long it took.
        examples: number of inputs.
        seeds: number of hypothesis' runs, each with a seed of its own.
        outcomes: number of inputs by what became of them.
        crashes: by kind.
    """

    seconds: float = 0.0
    examples: int = 0
    seeds: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, Crash] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "seconds": round(self.seconds, 1),
            "examples": self.examples,
            "seeds": self.seeds,
            "unnamed_crashes": [vars(crash) for crash in self.crashes.values()],
            "outcomes": dict(sorted(self.outcomes.items(), key=lambda item: (-item[1], item[0]))),
        }


def run(
    cases: Sequence[Case],
    seed: int,
    seconds: float = float("inf"),
    seeds: float = float("inf"),
    examples: int = _ROUND,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Draw inputs of all cases until the time or the number of seeds is used up.

    Args:
        cases: what is drawn.
        seed: the first seed; the others follow it.
        seconds: the time.
        seeds: the number of seeds.
        examples: inputs a seed.
        progress: told after each input.
    """
    report = Report()
    begin = time.monotonic()
    drawn = st.one_of([st.tuples(st.just(case), case.inputs) for case in cases])

    def attempt(case: Case, value: Any) -> None:
        report.seconds = time.monotonic() - begin
        if report.seconds >= seconds:
            return
        report.examples += 1
        try:
            with _limits():
                outcome = case.check(value)
        except (Exception, TooLong) as error:
            _note(report.crashes, case, value, error)
            raise AssertionError("unnamed") from error
        finally:
            progress(report)
        report.outcomes[f"{case.name}: {outcome}"] += 1

    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
        report_multiple_bugs=False,
    )
    while report.seconds < seconds and report.seeds < seeds:
        known = report.examples

        @hypothesis.seed(seed + report.seeds)
        @settings
        @hypothesis.given(drawn)
        def draw(item: tuple[Case, Any]) -> None:
            attempt(*item)

        # A crash is noted already; when the time ends while hypothesis simplifies it, that looks flaky.
        with contextlib.suppress(AssertionError, hypothesis.errors.Flaky):
            draw()
        report.seeds += 1
        report.seconds = time.monotonic() - begin
        if report.examples == known and report.seconds < seconds:
            raise RuntimeError("hypothesis has drawn nothing")
    return report


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong(f"more than {INPUT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    peak = _peak_bytes()
    signal.setitimer(signal.ITIMER_REAL, INPUT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert _peak_bytes() - peak < INPUT_BYTES, f"more than {INPUT_BYTES:,} bytes"


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _note(crashes: dict[str, Crash], case: Case, value: Any, error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}" for frame in frames)
    example = repr(value)
    shown = f"{example[:_EXAMPLE_CHARACTERS]}{'...' if len(example) > _EXAMPLE_CHARACTERS else ''}"
    crash = crashes.setdefault(
        f"{case.name} {type(error).__name__} {where}",
        Crash(f"{case.name}: {type(error).__name__}: {str(error)[:300]}", where, shown),
    )
    crash.times += 1
    if len(shown) <= len(crash.example):  # hypothesis comes to simpler ones, and ends with the simplest
        crash.error, crash.example = f"{case.name}: {type(error).__name__}: {str(error)[:300]}", shown

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from narvl.errors import DataError, UsageError, visible, without_tracebacks


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, käse 犬 🐕", "plain, käse 犬 🐕"),
        ("a\x1b[2J\x00b", r"a\x1b[2J\x00b"),
        ("\x85\x9b31m\u2028\u202e", r"\x85\x9b31m\u2028\u202e"),
        ("half \ud800", r"half \ud800"),
        ("line\nand\ttab", "line\nand\ttab"),  # a message may have several lines
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown
    for kind in (DataError, UsageError):
        assert str(kind(text)) == shown
        assert str(pickle.loads(pickle.dumps(kind(text)))) == shown  # data-loading workers send them so


class TestFairseqsCommands:
    """What an error that ends them says: its message, without where in the code it came from."""

    @pytest.fixture
    def ended(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def end(command: str, error: BaseException) -> str:
            monkeypatch.setattr(sys, "argv", [command, "DATA"])
            monkeypatch.setattr(sys, "excepthook", lambda *raised: sys.stderr.write("Traceback"))
            without_tracebacks()
            sys.excepthook(type(error), error, None)
            return capsys.readouterr().err

        return end

    @pytest.mark.parametrize("command", ["/bin/fairseq-train", "fairseq-generate", "x/fairseq_cli/validate.py"])
    def test_one_line(self, ended: Callable[..., str], command: str) -> None:
        assert ended(command, DataError("a.tsv, row 2: bad.")) == f"{Path(command).stem}: error: a.tsv, row 2: bad.\n"

    def test_of_a_worker_s_the_last(self, ended: Callable[..., str]) -> None:
        sent = "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        said = ended("fairseq-train", DataError(f"{sent}  File\nnarvl.errors.DataError: a.tsv, row 2: bad.\n"))
        assert said == "fairseq-train: error: a.tsv, row 2: bad.\n"

    def test_other_errors_and_other_programs_are_left_alone(
        self, ended: Callable[..., str], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert ended("fairseq-train", ValueError("x")) == ended("notebook", DataError("x")) == "Traceback"
        caplog.set_level(logging.DEBUG)
        assert ended("fairseq-train", DataError("x")) == "Traceback"

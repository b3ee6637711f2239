"""The command ``narvl`` tells of paths that the system refuses in one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from narvl.cli import COMMANDS, main
from narvl.commands import ema

LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["score", "captioning", "--results", LONG, "--data", "."],
        ["score", "captioning", "--results", "results.txt", "--data", LONG],
        ["score", "captioning", "--results", "results.txt", "--data", ".", "--split", LONG],
        ["predict", "--path", LONG, "image.png"],
        ["group", "--data", LONG, "--out", "out"],
    ],
    ids=lambda words: " ".join(words).replace(LONG, "LONG"),
)
def test_a_name_that_is_too_long(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.txt").write_text("S-0\tx\nD-0\t-0.5\ta cat\nP-0\t-0.5\n")
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"narvl {words[0]}: error: ") and told.count("\n") == 1
    assert LONG in told and "File name too long" in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "a\x1bb"), r"a\x1bb: Permission denied."),
        (OSError("no word of a file"), "no word of a file."),
    ],
)
def test_what_the_system_refuses(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(ema, "run", fail)
    assert main(["ema", "in.pt", "out.pt"]) == 2
    assert capsys.readouterr().err == f"narvl ema: error: {told} Give another path, or put this one right.\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_each_default_once(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert "(default: None)" not in told and "(default: False)" not in told
    assert ") (default" not in " ".join(told.split())


def test_a_description_s_table_stays_one(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert '\n  vqa          --question "what colour is the bus?"\n' in capsys.readouterr().out

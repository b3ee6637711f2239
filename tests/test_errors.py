from __future__ import annotations

import pickle

import pytest

from narvl.errors import DataError, UsageError, visible


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

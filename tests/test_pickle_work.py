"""Pickles that a few bytes make endless are told from honest ones without being read."""

from __future__ import annotations

import io
import pickle
import time
from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from narvl import checkpoints
from narvl.errors import DataError
from narvl.pickle_work import TooMuchWork, check_work

# Each level holds the one below twice.
TWICE = b"2\x86"
DEEP = b")" + TWICE * 200
CLASS = b"ccollections\nOrderedDict\n"
BOMBS = {
    "key": b"\x80\x02}" + DEEP + b"K\x01s.",
    "keys": b"\x80\x02}(K\x01K\x01" + DEEP + b"K\x01u.",
    "whole dictionary": b"\x80\x02(K\x01K\x01" + DEEP + b"K\x01d.",
    "by a memo": b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(200)) + b".",
    "by the memo of protocol 4": b"\x80\x04)\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(200)) + b".",
    # The list is in the memo while it is empty.
    "of a list": b"\x80\x02]q\x00(" + b")" * 30_000 + b"e" + b"h\x00h\x00h\x00\x87" * 3000 + b".",
    "of a function": b"\x80\x02(" + (CLASS + b")" + TWICE * 14 + b"\x85R") * 4000 + b"t.",
    "text": b"\x80\x02X\x00\x00\x10\x00" + b"x" * (1 << 20) + b"q\x00(" + b"h\x00\x85" * 30_000 + b"t.",
}


def works(pickled: bytes) -> bool:
    return check_work(io.BytesIO(pickled))


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(kind: str) -> None:
    with pytest.raises(TooMuchWork):
        works(BOMBS[kind])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.tuples(st.integers(), st.text()), inner)
        | st.sets(st.integers())
        | st.lists(st.tuples(st.text(), inner)).map(OrderedDict)
    ),
)


@given(VALUES, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_whatever_is_written_as_it_is_passes(value: Any, protocol: int) -> None:
    assert works(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    "value",
    [
        list(range(100_000)),
        dict.fromkeys(range(100_000), "shared"),
        [("a row", i, ("left", "right")) for i in range(20_000)],
        {"text": "x" * 1_000_000},
        OrderedDict((f"layer{i}", [0.5] * 9) for i in range(5000)),
    ],
    ids=["numbers", "dictionary", "tuples", "text", "ordered"],
)
def test_large_honest_values_pass(value: Any) -> None:
    assert works(pickle.dumps(value, 2))


@pytest.mark.parametrize(
    "broken",
    [b"", b"\x80", b"\x80\x02s.", b"\x80\x02e.", b"\x80\x02h\x07.", b"\x80\x02q\x07.", b"<", b"\x8e" + b"\x7f" * 8],
)
def test_broken_ones_are_left_to_readers(broken: bytes) -> None:
    assert not works(broken)


def test_pickles_behind_one_another() -> None:
    """The limit of the second does not grow with the first."""
    file = io.BytesIO(pickle.dumps("x" * 1_000_000, 2) + b"\x80\x02(" + (b")" + TWICE * 14 + b"0") * 200 + b"t.")
    assert check_work(file)
    with pytest.raises(TooMuchWork):
        check_work(file)


class _Nested:
    """Pickles into a dictionary whose key takes years to hash."""

    def __reduce__(self) -> tuple[Any, ...]:
        key: tuple[Any, ...] = ()
        for _ in range(60):
            key = (key, key)
        return dict, (), None, None, iter([(_Key(key), 1)])


class _Key:
    """Pickles into a tuple, and is hashed as an object until then."""

    def __init__(self, value: tuple[Any, ...]) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (self.value,)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_checkpoint_takes_years_to_read(tmp_path: Any, zipped: bool) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.zeros(1000)}, "last": _Nested()}, path, _use_new_zipfile_serialization=zipped)
    begin = time.monotonic()
    with pytest.raises(DataError, match="x.pt: refused: what is nested in it unfolds .* from its own author"):
        checkpoints.read(path)
    assert time.monotonic() - begin < 10

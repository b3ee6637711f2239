"""Damage to a file's bytes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

#: What is done, where (modulo the length), how much, and what is put in.
Edit = tuple[str, int, int, bytes]

_KINDS = ("cut", "flip", "flip", "flip", "insert", "remove", "repeat")


def edits() -> st.SearchStrategy[list[Edit]]:
    """Draw one to four edits, most often of a file's beginning or end."""
    place = st.one_of(st.integers(0, 2**31), st.integers(0, 63), st.integers(-1000, -1))
    edit = st.tuples(st.sampled_from(_KINDS), place, st.integers(0, 40), st.binary(min_size=1, max_size=8))
    return st.lists(edit, min_size=1, max_size=4)


def damage(data: bytes, changes: Sequence[Edit]) -> bytes:
    """Cut bytes off, flip bits, put bytes in, take some out, double some."""
    changed = bytearray(data)
    for kind, place, amount, more in changes:
        begin = place % max(len(changed), 1)
        match kind:
            case "cut":
                del changed[begin:]
            case "flip" if changed:
                changed[begin] ^= 1 << amount % 8
            case "insert":
                changed[begin:begin] = more
            case "remove":
                del changed[begin : begin + amount]
            case "repeat":
                changed[begin:begin] = changed[begin : begin + amount]
    return bytes(changed)


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Draw a file and damage it."""
    return st.builds(damage, whole, edits())

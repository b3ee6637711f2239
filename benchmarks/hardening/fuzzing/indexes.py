"""Stored row indexes: whatever is in one, the rows are those of the file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from fuzzing.case import Case
from fuzzing.damage import Edit, damage, edits
from narvl.data import tsv
from narvl.data.tsv import TsvFile

_ROWS = [[f"k{number}", "v" * (number % 5)] for number in range(40)]
_COLUMNS = ("key", "value")


def index_case(folder: Path) -> Case:
    """Return the case."""
    path = folder / "rows.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in _ROWS))
    store = path.with_name(f"{path.name}.offsets.npy")
    with mock.patch.object(tsv, "_STORE_INDEX_FROM_BYTES", 0):
        TsvFile(path, _COLUMNS)
    stored = store.read_bytes()
    offsets = np.load(io.BytesIO(stored))
    kinds = st.sampled_from(("int64", "int32", "float64", ">i8", "object", "U3", "bool"))
    others = st.one_of(
        st.builds(lambda kind: _written(offsets.astype(kind)), kinds),
        st.builds(lambda values: _written(np.concatenate([offsets[:3], np.array(values, dtype=np.int64)])), _offsets()),
        st.just(_written(offsets.reshape(1, -1))),
        st.just(_packed(offsets)),
        st.binary(max_size=80),
    )

    def check(data: bytes | list[Edit]) -> str:
        store.write_bytes(data if isinstance(data, bytes) else damage(stored, data))
        os.utime(path, ns=(0, int(offsets[1])))
        rows = TsvFile(path, _COLUMNS)
        assert [rows[row] for row in range(len(rows))] == _ROWS
        return "the file's rows"

    return Case("index", st.one_of(edits(), others), check)


def _offsets() -> st.SearchStrategy[list[int]]:
    return st.lists(st.one_of(st.integers(-5, 400), st.sampled_from((2**62, -(2**63)))), max_size=6)


def _written(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def _packed(values: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, values)
    return file.getvalue()

"""Pickles from the web: plain values load from every protocol; whatever else a pickle asks for is refused unrun."""

from __future__ import annotations

import builtins
import os
import pickle
import pickletools
import resource
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.errors import DataError
from narvl.prepare import plain_pickle
from narvl.prepare.plain_pickle import read_plain_pickle

VALUES = {
    "list": [1, -2, 3.5, "text", "käse 犬", None, True, False, 1 << 70],
    "nested": [{"a": [{"b": (1, 2)}, ()]}, {}, [], (1,), (1, 2, 3), (1, 2, 3, 4)],
    5: b"bytes",
}


def write(path: Path, data: bytes) -> Path:
    file = path / "refs(unc).p"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    values = dict(VALUES)
    if protocol < 3:  # bytes need a call there
        del values[5]
    assert read_plain_pickle(write(tmp_path, pickle.dumps(values, protocol))) == values


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    ),
    st.sampled_from([0, 2, 4]),
)
def test_any_plain_value(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    assert read_plain_pickle(write(tmp_path_factory.mktemp("pickle"), pickle.dumps(value, protocol))) == value


PYTHON_2 = {
    "protocol 0": b"(lp0\n(dp1\nS'sent'\np2\nS'the caf\\xe9'\np3\nsS'raw'\np4\nVThe caf\xe9 \\u72ac\np5\n"
    b"sS'id'\np6\nI7\nsS'big'\np7\nL8L\nsS'ok'\np8\nI01\nsS'split'\np9\ng2\nsa.",
    "protocol 2": b"\x80\x02]q\x00}q\x01(U\x04sentq\x02U\x08the caf\xe9q\x03U\x03rawq\x04X\x0d\x00\x00\x00The "
    b"caf\xc3\xa9 \xe7\x8a\xacq\x05U\x02idq\x06K\x07U\x03bigq\x07\x8a\x01\x08U\x02okq\x08\x88U\x05splitq\x09h\x02ua.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_python_2_wrote_byte_strings(tmp_path: Path, protocol: str) -> None:
    value = read_plain_pickle(write(tmp_path, PYTHON_2[protocol]))
    assert value == [{"sent": "the café", "raw": "The café 犬", "id": 7, "big": 8, "ok": True, "split": "sent"}]


class Reduce:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class WithState:
    """Pickles into an instance with attributes."""

    def __init__(self) -> None:
        self.value = 1


def touch(marker: Path) -> str:
    return f"touch '{marker}'"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec, os.popen])
def test_calls_are_refused_and_run_nothing(tmp_path: Path, protocol: int, function: Any) -> None:
    marker = tmp_path / "ran"
    code = touch(marker) if function in (os.system, os.popen) else f"open({str(marker)!r}, 'w').close()"
    data = pickle.dumps([{"sentences": Reduce(function, code)}], protocol)
    path = write(tmp_path, data)
    with pytest.raises(DataError) as error:
        read_plain_pickle(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    name = {os.system: ".system", os.popen: ".popen"}.get(function, f".{function.__name__}")
    assert name in message and "Nothing was run" in message
    assert not marker.exists()
    pickle.loads(data)  # the file is dangerous indeed
    assert marker.exists() or function is os.popen


NAMED = {
    "global": b"cposix\nsystem\n(S'touch {}'\ntR.",
    "instance": b"(S'touch {}'\niposix\nsystem\n.",
    "python 2 built-in": b"c__builtin__\neval\n(S'{}'\ntR.",
    "class alone": b"ccollections\nOrderedDict\n.",
    "names from the stack": b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
    "dotted name": b"\x80\x04\x8c\x02os\x8c\x0bpath.exists\x93.",
    "persistent id": b"Psecret\n.",
    "binary persistent id": b"\x80\x02X\x06\x00\x00\x00secretQ.",
    "endless persistent id": b"\x80\x02X\x06\x00\x00\x00secret" + b"2\x86" * 20 + b"Q.",
}


@pytest.mark.parametrize("kind", NAMED)
def test_whatever_a_pickle_names_stands_in_the_message(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "ran"
    path = write(tmp_path, NAMED[kind].replace(b"{}", str(marker).encode()))
    names = {
        "python 2 built-in": "__builtin__.eval",
        "class alone": "collections.OrderedDict",
        "dotted name": "os.path.exists",
        "persistent id": "persistent object 'secret'",
        "binary persistent id": "persistent object 'secret'",
        "endless persistent id": "persistent object ((((...), (...)), ",
    }
    with pytest.raises(DataError, match="refs.unc..p: not the annotations.* asks for") as error:
        read_plain_pickle(path)
    assert names.get(kind, "posix.system") in str(error.value)
    assert not marker.exists()


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path, b"c\x1b[2J\x07\nname" + b"x" * 500 + b"\n.")
    with pytest.raises(DataError) as error:
        read_plain_pickle(path)
    assert "\x1b" not in str(error.value) and len(str(error.value)) < len(str(path)) + 400


@pytest.mark.parametrize(
    "value", [WithState(), OrderedDict(a=1), {1, 2}, frozenset([1]), bytearray(b"x"), 1j, range(3)]
)
def test_objects_are_refused(tmp_path: Path, value: Any) -> None:
    for protocol in range(6):
        with pytest.raises(DataError, match="refs.unc..p: "):
            read_plain_pickle(write(tmp_path, pickle.dumps(value, protocol)))


def test_operations_that_act_on_objects_are_unknown() -> None:
    table = plain_pickle._PlainUnpickler.dispatch
    acting = ("REDUCE BUILD NEWOBJ NEWOBJ_EX OBJ EXT1 EXT2 EXT4 NEXT_BUFFER READONLY_BUFFER BYTEARRAY8").split()
    assert not [name for name in acting if getattr(pickle, name)[0] in table]
    assert "REDUCE" in {op.name for op in pickletools.opcodes}


DAMAGED = {
    "empty": b"",
    "text": b"not a pickle",
    "cut": pickle.dumps(VALUES)[:-20],
    "no stop": b"]",
    "nothing to stop at": b".",
    "extension code": b"\x80\x02\x82\x01.",
    "unknown protocol": b"\x80\x63.",
    "memo never written": b"g5\n.",
    "append to a number": b"K\x01K\x02a.",
    "key that cannot be hashed": b"}]K\x01s.",
    "html": b"<!DOCTYPE html><html></html>",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="refs.unc..p: no pickle of plain values .* download it again"):
        read_plain_pickle(write(tmp_path, DAMAGED[kind]))


# Each level holds the one below twice: a tuple of a million parts, when it is hashed.
NESTED = b")" + b"2\x86" * 20
KEYS = {
    "one pair": b"\x80\x02}" + NESTED + b"K\x01s.",
    "pairs": b"\x80\x02}(K\x01K\x01" + NESTED + b"K\x01u.",
    "whole dictionary": b"\x80\x02(K\x01K\x01" + NESTED + b"K\x01d.",
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_that_could_take_years_to_hash(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"refs.unc..p: no .*a tuple as a dictionary's key\). .* download it again"):
        read_plain_pickle(write(tmp_path, KEYS[kind]))


HUGE = struct.pack("<Q", 1 << 60)
REFUSED = object()
BOMBS: dict[str, tuple[bytes, Any]] = {
    "memo index": (b"\x80\x02]r\xff\xff\xff\x7f.", []),
    "text length": (b"\x80\x04\x8d" + HUGE + b"x.", REFUSED),
    "bytes length": (b"\x80\x04\x8e" + HUGE + b"x.", REFUSED),
    "byte array length": (b"\x80\x05\x96" + HUGE + b"x.", REFUSED),
    "frame length": (b"\x80\x04\x95" + HUGE + b"N.", None),
    "digits": (b"I" + b"9" * 100_000 + b"\n.", REFUSED),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_sizes_that_a_file_only_claims_allocate_nothing(tmp_path: Path, kind: str) -> None:
    data, value = BOMBS[kind]
    path = write(tmp_path, data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if value is REFUSED:
        with pytest.raises(DataError, match="no pickle of plain values"):
            read_plain_pickle(path)
    else:
        assert read_plain_pickle(path) == value
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # kilobytes


def test_files_larger_than_any_annotations_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    with path.open("r+b") as stream:
        stream.truncate(plain_pickle.MAX_BYTES + 1)  # takes no disk
    with pytest.raises(DataError, match="268,435,457 bytes; .* not read"):
        read_plain_pickle(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.p: cannot be read"):
        read_plain_pickle(tmp_path / "nowhere.p")

"""Checkpoint files: read without running what is in them, named where damaged, and written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import shutil
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from narvl.errors import DataError, UsageError
from narvl.pickle_work import TooMuchWork, check_work

logger = logging.getLogger(__name__)

# Between tries to write; what hinders a network's disk is often gone then.
_PAUSE_S = 2.5
_ZIP = b"PK\x03\x04"
# Pickles before the weights in torch's format before ZIP archives.
_OLD_PICKLES = 5
# How torch's safe loader tells of a class or function that it does not know, and so never calls.
_ASKED_FOR = re.compile(
    r"GLOBAL (?P<name>\S+)"
    r"|unrecognized function (?P<function>.+)"
    r"|(?:Can only (?:create new object|build Tensor).* but got) (?P<kind>.+)"
)


class _Unreadable(Exception):
    """The file's bytes are no checkpoint's; says how it shows."""


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of fairseq's onto the CPU.

    Every byte is compared with the checksums in the file. Nothing that the file names is imported or called, whatever
    the environment tells torch.

    Args:
        path: the file.

    Returns:
        What was saved: the weights under ``model``, and the rest.

    Raises:
        DataError: the file is missing, is no checkpoint, asks for more than values, or is damaged; then the message
            names the newest other checkpoint of its folder that can be read.
    """
    path = Path(path)
    try:
        return _read(path)
    except _Unreadable as error:
        raise DataError(f"{path}: {error}. {_advice(path)}") from None


def write(state: Any, path: str | Path, tries: int = 1) -> None:
    """Save a checkpoint: the file has its old content or the new one, whatever stops the process or the machine.

    Args:
        state: what to save.
        path: the file.
        tries: how often to try.

    Raises:
        UsageError: the file cannot be written; it is as it was.
    """
    path = Path(path)
    for left in reversed(range(tries)):
        try:
            with _replaced(path) as partial, partial.open("wb") as file:
                torch.save(state, file)
        except UsageError as error:
            if not left:
                raise
            logger.warning("%s Tries to go: %d.", error, left)
            time.sleep(_PAUSE_S)
        else:
            return


def copy(source: str | Path, target: str | Path) -> None:
    """Copy a checkpoint over another, all or nothing as in ``write``.

    Raises:
        UsageError: the target cannot be written; it is as it was.
    """
    with _replaced(Path(target)) as partial:
        shutil.copyfile(source, partial)


def _read(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        size = status.st_size
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would be waited for
            raise DataError(f"{path}: no file of bytes, but a pipe or device. Give a checkpoint of fairseq-train.")
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP)) == _ZIP
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. Give a checkpoint of fairseq-train.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give a checkpoint of fairseq-train.") from error
    if zipped or not size:
        _check_archive(path, size)
    try:
        _check_pickles(path, zipped)
    except TooMuchWork:
        raise DataError(
            f"{path}: refused: what is nested in it unfolds to far more than its bytes, and could take years to read. "
            "Give a checkpoint of fairseq-train, from its own author."
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # anything can come of reading a file's bytes as what they are not
        # torch's messages advise to switch its safety off: of them, the name alone is handed on.
        if isinstance(error, pickle.UnpicklingError) and (asked := _ASKED_FOR.search(str(error))):
            name = next(found for found in asked.groups() if found)
            raise DataError(
                f"{path}: refused: it asks for {name[:80]!r}, and loading it could run a program. Nothing was run. "
                "Give a checkpoint of fairseq-train, from its own author."
            ) from None
        raise _Unreadable(f"damaged, or no checkpoint: {size:,} bytes that torch cannot load{_brief(error)}") from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise DataError(
            f"{path}: no checkpoint, but a {type(state).__name__} without a model. Give one of fairseq-train."
        )
    if not isinstance(state.get("task_state", {}), dict):  # fairseq would unpack it as one
        kind = type(state["task_state"]).__name__
        raise DataError(f"{path}: damaged: its 'task_state' is a {kind}, not a mapping. Give another checkpoint.")
    return state


def _check_archive(path: Path, size: int) -> None:
    """Compare the parts of torch's format, a ZIP archive, with their checksums, which torch itself does not read.

    torch stores parts as they are. Compressed ones, or such as share bytes, could fill the memory from a small file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
            unpacked = sum(part.file_size for part in parts)
            broken = None if packed or unpacked > size else archive.testzip()
    except Exception:  # as above
        raise _Unreadable(f"damaged: {size:,} bytes, whose end is missing or broken") from None
    if packed:
        raise _Unreadable(f"no checkpoint of torch's: {packed[0][:80]!r} in it is compressed")
    if unpacked > size:
        raise _Unreadable(f"no checkpoint of torch's: {size:,} bytes that claim to be {unpacked:,}")
    if broken is not None:
        raise _Unreadable(f"damaged: {size:,} bytes, of which those of {broken!r} are not what was saved")


def _check_pickles(path: Path, zipped: bool) -> None:
    """Refuse pickles that ask for too much work; broken ones are left to torch."""
    if zipped:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                if part.filename.endswith(".pkl"):
                    with archive.open(part) as file:
                        check_work(file)
        return
    with path.open("rb") as file:
        for _ in range(_OLD_PICKLES):
            if not check_work(file):
                return


def _brief(error: Exception) -> str:
    """Tell what torch said, unless it is advice."""
    said = str(error).partition("\n")[0][:120]
    return f" ({said})" if said and "weights" not in said else ""


def _advice(path: Path) -> str:
    """Name the newest other checkpoint of a folder that can be read, and say what to do."""
    if path.suffix != ".pt":  # somebody's photo, given in its place
        return "Give a checkpoint of fairseq-train, such as SAVE_DIR/checkpoint_best.pt."
    for other in sorted(path.parent.glob("*.pt"), key=_modified, reverse=True):
        if other.name != path.name:
            with contextlib.suppress(_Unreadable, DataError):
                update = _update(_read(other))
                return (
                    f"The newest other checkpoint there that can be read is {other}{update}: copy it over this one, "
                    "or give it instead."
                )
    return (
        f"No other checkpoint in {path.parent} can be read: put a copy in its place, or delete it and train from the "
        "beginning."
    )


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # a link to nothing, or deleted meanwhile
        return 0.0


def _update(state: dict[str, Any]) -> str:
    try:
        return f" (update {int(state['optimizer_history'][-1]['num_updates'])})"
    except (LookupError, TypeError, ValueError):
        return ""


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Lend a path beside a file; what was written there takes the file's name once it is on the disk."""
    partial = path.with_name(f"{path.name}.tmp")
    try:
        yield partial
        # Without it, a machine that loses power may keep the new name and lose what belongs to it.
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        kept = " The earlier one is as it was." if path.exists() else ""
        raise UsageError(
            f"{path}: the checkpoint cannot be written ({_system_reason(error)}).{kept} Free space or give another "
            "folder, and run the command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _system_reason(error: BaseException) -> str:
    """Return the system's word, which torch hides behind one of its own."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return str(error).partition("\n")[0]

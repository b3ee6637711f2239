"""What every source writes in the same way: complete data directories, and a word on each row left out."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from narvl.errors import DataError, UsageError, visible

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
# The names that partial_path makes, in any process.
_PARTIAL = re.compile(r"\..+\.[0-9]+\.partial")
BPE_FILES = ("encoder.json", "vocab.bpe", "dict.txt")


class BadRows:
    """Stops at the first bad row, or, with ``--skip-bad-rows``, logs and counts each.

    Args:
        skip: log and count instead of stopping.

    Attributes:
        counts: skipped rows by reason.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.counts: Counter[str] = Counter()

    def report(self, reason: str, message: str, rows: int = 1) -> None:
        """Report a bad row, or several that share a cause.

        Args:
            reason: the kind of fault, for the summary.
            message: file, row, the value seen and the fix.
            rows: how many rows are lost by it.

        Raises:
            DataError: ``message``, unless bad rows are skipped.
        """
        if not self.skip:
            raise DataError(f"{message} Or leave such rows out with --skip-bad-rows.")
        self.counts[reason] += rows
        logger.warning("skipped: %s", visible(message))

    def leave_out(self, reason: str) -> None:
        """Count a row that the data set's own rules leave out; that is no fault.

        Args:
            reason: why, for the summary.
        """
        self.counts[reason] += 1


def check_bpe_dir(bpe_dir: Path) -> None:
    """Check that ``--bpe-dir`` holds the subword vocabulary.

    Raises:
        UsageError: a file of it is missing.
    """
    missing = [name for name in BPE_FILES if not (bpe_dir / name).is_file()]
    if missing:
        raise UsageError(
            f"--bpe-dir {bpe_dir}: no {', '.join(missing)}. Give a folder that holds {', '.join(BPE_FILES)}."
        )


def make_data_directory(out: Path) -> None:
    """Make ``--out`` where it does not exist.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made ({error}). Give a folder that can be written.") from error


def warn_of_other_splits(out: Path, splits: Collection[str]) -> None:
    """Warn of the TSV files of splits that this run does not write."""
    for stale in sorted(out.glob("*.tsv")):
        if stale.stem not in splits:
            logger.warning("%s: left from an earlier run; there is no row for this split now", stale)


def install_bpe_files(bpe_dir: Path, out: Path) -> None:
    """Copy the subword vocabulary into the data directory, each file all or nothing."""
    if bpe_dir.samefile(out):
        return
    for name in BPE_FILES:
        partial = partial_path(out / name)
        try:
            shutil.copyfile(bpe_dir / name, partial)
            partial.replace(out / name)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Keep other conversions out of a data directory, and delete what one that was killed has left half-written there.

    Raises:
        UsageError: another process writes there now.
    """
    with contextlib.ExitStack() as opened:
        try:
            handle = os.open(out, os.O_RDONLY)
            opened.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with its process, however that ends
            for left in out.glob(".*.partial"):
                if _PARTIAL.fullmatch(left.name):
                    left.unlink()
            yield
        except BlockingIOError as error:
            raise UsageError(
                f"--out {out}: another conversion writes here now. Wait for it, or give another folder."
            ) from error
        except OSError as error:
            raise UsageError(
                f"--out {out}: cannot be written ({error.strerror}). Free space or give another folder."
            ) from error


@contextlib.contextmanager
def staged_data_directory(out: Path, splits: list[str], bpe_dir: Path) -> Iterator[dict[str, Path]]:
    """Write a data directory so that its files appear only once all of them are complete.

    Args:
        out: the data directory; made where it does not exist.
        splits: the splits to write.
        bpe_dir: where the subword vocabulary is copied from; may be ``out``.

    Yields:
        For each split a temporary path in ``out`` to write its TSV file to. When the block ends well, the files take
        their names (``SPLIT.tsv``); when it does not, they vanish.

    Raises:
        UsageError: ``out`` cannot be written, or another conversion writes there.
    """
    make_data_directory(out)
    warn_of_other_splits(out, splits)
    tsv_files = {split: partial_path(out / f"{split}.tsv") for split in splits}
    with only_writer(out):
        try:
            yield tsv_files
            install_bpe_files(bpe_dir, out)
            for split, partial in tsv_files.items():
                partial.replace(out / f"{split}.tsv")
        finally:
            for partial in tsv_files.values():
                partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Return the temporary path, beside a file, that this process writes it to."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")

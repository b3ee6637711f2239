"""A data directory that takes hours to write: a stopped conversion goes on where it stopped.

Rows go to ``OUT/.prepare/SPLIT.tsv``. Every few seconds the journal beside them notes how many images of each split
are done and how long its file was then. A later run with the same arguments and unchanged source files cuts each file
to the length noted and goes on behind it; any other run begins anew. The files take their names in OUT when all splits
are complete, so that OUT never holds splits of two conversions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from narvl.prepare.output import make_data_directory, only_writer, partial_path

logger = logging.getLogger(__name__)

STAGING = ".prepare"
_JOURNAL = "journal.json"
# A stop loses at most the work of so many seconds. Each note waits until the rows before it are on the disk.
_NOTE_EVERY_S = 5.0


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a split is.

    Attributes:
        done: images dealt with, those that turned out bad included.
        images: images written.
        rows: rows written.
        converted: images written that were encoded anew.
        bytes: length of the file.
        skipped: rows left out so far, by reason.
        complete: whether every image is dealt with.
    """

    done: int = 0
    images: int = 0
    rows: int = 0
    converted: int = 0
    bytes: int = 0
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    complete: bool = False


class SplitFile:
    """The TSV file of one split while it is written.

    Args:
        staging: the directory that it belongs to.
        split: its name.
        stream: the open file, at its end.
    """

    def __init__(self, staging: StagedConversion, split: str, stream: BinaryIO) -> None:
        self._staging = staging
        self._split = split
        self._stream = stream
        self._noted = time.monotonic()

    def add_image(self, rows: Sequence[Sequence[str]], converted: bool, skipped: Mapping[str, int]) -> None:
        """Append the rows of the next image, and note the progress if the last note is some seconds old.

        Args:
            rows: the fields of each row; none where the image is left out.
            converted: whether the image was encoded anew.
            skipped: all rows of this split left out so far, by reason.
        """
        data = "".join("\t".join(fields) + "\n" for fields in rows).encode("utf-8")
        self._stream.write(data)
        before = self._staging.progress[self._split]
        # One assignment: wherever an interrupt falls, the progress tells of whole images.
        self._staging.progress[self._split] = Progress(
            done=before.done + 1,
            images=before.images + bool(rows),
            rows=before.rows + len(rows),
            converted=before.converted + (converted and bool(rows)),
            bytes=before.bytes + len(data),
            skipped=dict(skipped),
        )
        if time.monotonic() - self._noted >= _NOTE_EVERY_S:
            self.note()

    def complete(self) -> None:
        """Mark the split as complete."""
        self._staging.progress[self._split] = dataclasses.replace(self._staging.progress[self._split], complete=True)

    def note(self) -> None:
        """Note the progress, once the rows are on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._staging.write_journal()
        self._noted = time.monotonic()


class StagedConversion:
    """The files of a conversion under way; made by ``open_staging``.

    Args:
        out: the data directory.
        fingerprint: stands for the arguments and source files.
        splits: names of the splits.
        skip_bad_rows: whether rows may have been left out; what was left out is not taken over where they may not.
    """

    def __init__(self, out: Path, fingerprint: str, splits: Sequence[str], skip_bad_rows: bool) -> None:
        self.out = out
        self._folder = out / STAGING
        self._fingerprint = fingerprint
        self.progress = {split: Progress() for split in splits}
        self._take_over(skip_bad_rows)

    def _take_over(self, skip_bad_rows: bool) -> None:
        """Take over what an earlier run has noted, if it did the same work; else clear the staging folder."""
        journal = self._folder / _JOURNAL
        if not journal.is_file():
            return
        try:
            noted = json.loads(journal.read_text(encoding="utf-8"))
            progress = {split: Progress(**values) for split, values in noted["splits"].items()}
            same = noted["fingerprint"] == self._fingerprint and list(progress) == list(self.progress)
        except (ValueError, KeyError, TypeError, AttributeError):
            same = False
        if not same:
            logger.warning("%s: of a conversion with other arguments or source files; begins anew", self._folder)
        elif not skip_bad_rows and any(split.skipped for split in progress.values()):
            logger.warning("%s: the stopped conversion has left rows out; begins anew without", self._folder)
        elif not all(self._holds(split, values) for split, values in progress.items()):
            logger.warning("%s: is not what its journal says; begins anew", self._folder)
        else:
            self.progress = progress
            return
        self._clear()

    def _holds(self, split: str, progress: Progress) -> bool:
        """Tell whether a split's file is there, with at least the rows noted."""
        path = self._folder / f"{split}.tsv"
        if not path.is_file():
            # A run that was stopped while the files took their names has moved this one already.
            path = self.out / f"{split}.tsv"
            return not progress.bytes or (
                progress.complete and path.is_file() and path.stat().st_size == progress.bytes
            )
        if path.stat().st_size < progress.bytes:
            return False
        with path.open("rb") as stream:
            stream.seek(max(progress.bytes - 1, 0))
            return not progress.bytes or stream.read(1) == b"\n"

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()

    @contextlib.contextmanager
    def open_split(self, split: str) -> Iterator[SplitFile]:
        """Open a split's file behind the rows noted, and note the progress at the end, however that comes."""
        path, progress = self._folder / f"{split}.tsv", self.progress[split]
        path.touch()
        with path.open("r+b", buffering=1 << 20) as stream:
            stream.truncate(progress.bytes)
            stream.seek(progress.bytes)
            file = SplitFile(self, split, stream)
            try:
                yield file
            finally:
                file.note()

    def write_journal(self) -> None:
        """Note the progress of all splits."""
        noted = {
            "fingerprint": self._fingerprint,
            "splits": {split: dataclasses.asdict(progress) for split, progress in self.progress.items()},
        }
        partial = partial_path(self._folder / _JOURNAL)
        with partial.open("w", encoding="utf-8") as stream:
            json.dump(noted, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self._folder / _JOURNAL)

    def finish(self, extra: dict[str, str]) -> None:
        """Give the files their names; the training split comes last, so that a directory with it is complete.

        Args:
            extra: further files of the data directory and their text.
        """
        for name, text in extra.items():
            partial = partial_path(self.out / name)
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.out / name)
        for split in sorted(self.progress, key=lambda split: split == "train"):
            staged = self._folder / f"{split}.tsv"
            if staged.is_file():
                staged.replace(self.out / staged.name)
        shutil.rmtree(self._folder)


@contextlib.contextmanager
def open_staging(out: Path, fingerprint: str, splits: Sequence[str], skip_bad_rows: bool) -> Iterator[StagedConversion]:
    """Open the staging folder of a data directory, with what an earlier run of the same work has left there.

    Args:
        out: the data directory; made where it does not exist.
        fingerprint: stands for the arguments and source files.
        splits: names of the splits, in order.
        skip_bad_rows: whether rows may be left out.

    Raises:
        UsageError: the folder cannot be written, or another process is writing to it.
    """
    make_data_directory(out)
    with only_writer(out):
        (out / STAGING).mkdir(exist_ok=True)
        yield StagedConversion(out, fingerprint, splits, skip_bad_rows)

"""Where each row's text lies in the teacher's results files: an index of 12 bytes a row, then one seek a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from narvl.data.tsv import TsvFile
from narvl.distillation.folder import TEACHER_SPLIT, parse_shard, shard_rows
from narvl.distillation.shard import compare_settings, is_complete, read_settings
from narvl.errors import DataError
from narvl.evaluation.generations import Generation, iterate_generations

_SHOWN = 5


class TeacherResults:
    """The teacher's texts by row, read from disk one at a time.

    Args:
        paths: results files of fairseq-generate or of ``narvl distill decode``.
        rows: what the teacher had to decode.

    Raises:
        DataError: a file is missing or damaged, or shards come from different teachers or settings.
    """

    def __init__(self, paths: Sequence[Path], rows: TsvFile) -> None:
        self.paths = list(paths)
        self.num_rows = len(rows)
        shards = [parse_shard(path) for path in self.paths]
        self._shards = [shard for shard in shards if shard] if all(shards) else None
        self._check_shards(rows.path)
        self._file = np.full(self.num_rows, -1, dtype=np.int32)
        self._offset = np.zeros(self.num_rows, dtype=np.int64)
        self._doubled = _Rows()
        self._surplus = _Rows()
        self._handle: BinaryIO | None = None
        self._open_number = -1
        for number, path in enumerate(tqdm(self.paths, desc="results", unit="file", disable=None)):
            self._index(number, path)

    @property
    def missing(self) -> npt.NDArray[np.int64]:
        """The rows (0-based) that no file has."""
        return np.flatnonzero(self._file < 0)

    def check(self, out: Path, allow_missing: bool) -> None:
        """Refuse results in which a row is missing or came back twice, or that hold rows which do not exist.

        Args:
            out: the student's data folder, for the message.
            allow_missing: let rows pass that decoding has left out. What an unfinished shard lacks is still missing.

        Raises:
            DataError: counts, the first of those rows, and the command to run again.
        """
        missing = self._undecoded() if allow_missing else self.missing
        problems = []
        if len(missing):
            first = _few((missing[: _SHOWN + 1] + 1).tolist())
            problems.append(f"{len(missing)} of {self.num_rows} rows are missing (first: {first})")
        if self._doubled.count:
            problems.append(f"{self._doubled.count} rows came back more than once (first: {self._doubled})")
        if self._surplus.count:
            problems.append(f"{self._surplus.count} rows do not exist (first: {self._surplus})")
        if problems:
            raise DataError(f"{_few(self.paths)}: {'; '.join(problems)}. {self._advice(out)}")

    def __getitem__(self, row: int) -> Generation | None:
        """Return what the teacher said of a row (0-based); None where no file has it.

        Raises:
            DataError: the file has changed since it was indexed.
        """
        number = int(self._file[row])
        if number < 0:
            return None
        if self._handle is None or number != self._open_number:
            self.close()
            self._handle = self.paths[number].open("rb")
            self._open_number = number
        self._handle.seek(int(self._offset[row]))
        try:
            entry = next(iterate_generations(self._handle, self.paths[number]), None)
        except DataError:
            entry = None
        if entry is None or entry.row != row:
            raise DataError(f"{self.paths[number]}: changed while it was read. Run the command again.")
        return entry.generation

    def close(self) -> None:
        """Close the file that is open."""
        if self._handle is not None:
            self._handle.close()

    def _index(self, number: int, path: Path) -> None:
        with path.open("rb") as handle:
            for entry in iterate_generations(handle, path, unfinished=parse_shard(path) is not None):
                if not entry.row < self.num_rows:
                    self._surplus.add(entry.row)
                elif self._file[entry.row] >= 0:
                    self._doubled.add(entry.row)
                else:
                    self._file[entry.row] = number
                    self._offset[entry.row] = entry.begin

    def _check_shards(self, rows: Path) -> None:
        first: tuple[Path, dict[str, object]] | None = None
        for path in self.paths:
            if not path.is_file():
                raise DataError(f"{path}: no such file. Give what fairseq-generate or narvl distill decode wrote.")
            if parse_shard(path) is None:
                continue
            settings = read_settings(path)
            if settings.get("bytes") != rows.stat().st_size:
                raise DataError(f"{path}: decoded from another {rows}. Delete it and decode the shard anew.")
            if first is None:
                first = (path, settings)
            elif different := compare_settings(first[1], settings):
                raise DataError(
                    f"{path}: decoded with other settings than {first[0]}: {different}. Delete the wrong one "
                    "and decode the shard anew."
                )

    def _undecoded(self) -> npt.NDArray[np.int64]:
        """Return the missing rows (0-based) without those that a finished decoding has left out."""
        missing = self.missing
        if self._shards is None:  # fairseq-generate's files do not tell whether they are finished
            return missing[:0]
        for path, shard in zip(self.paths, self._shards, strict=True):
            rows = shard_rows(self.num_rows, *shard)
            if is_complete(path):
                missing = missing[(missing < rows.start) | (missing >= rows.stop)]
        return missing

    def _advice(self, out: Path) -> str:
        """Tell how to get results that are whole."""
        if self._shards is None:
            return f"Run again: fairseq-generate {out} --gen-subset {TEACHER_SPLIT} --distributed-world-size 1 FLAGS"
        divisions = sorted({num_shards for _, num_shards in self._shards})
        if len(divisions) > 1:
            return f"{out / 'shards'} holds several divisions ({_few(divisions)}): keep the files of one."
        undecoded = self._undecoded()
        starts = [shard_rows(self.num_rows, shard_id, divisions[0]).start for shard_id in range(divisions[0])]
        unfinished = np.unique(np.searchsorted(starts, undecoded, side="right") - 1).tolist()
        if unfinished:
            more = f" (and shards {_few(unfinished[1:])})" if len(unfinished) > 1 else ""
            command = f"narvl distill decode --out {out} --shard-id {unfinished[0]} --num-shards {divisions[0]}"
            return f"Run again: {command} -- FLAGS{more}"
        if len(self.missing):
            return "They are bad rows that --skip-bad-rows left out: mend them, or give --drop-missing."
        return "Delete the wrong files and decode those shards anew."


def _few(things: Sequence[object]) -> str:
    """List the first things, and tell that there are more."""
    return ", ".join(map(str, things[:_SHOWN])) + (", ..." if len(things) > _SHOWN else "")


class _Rows:
    """A count of rows, and the first of them (1-based)."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[int] = []

    def add(self, row: int) -> None:
        self.count += 1
        if len(self._first) <= _SHOWN:
            self._first.append(row + 1)

    def __str__(self) -> str:
        return _few(self._first)

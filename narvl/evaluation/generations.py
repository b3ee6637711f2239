"""Reads the results file of fairseq-generate: the best text of each row, its score and its probability."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from narvl.errors import DataError

_DETOKENIZED = re.compile(r"D-(\d+)\t([^\t]+)\t(.*)")
_POSITIONAL = re.compile(r"P-(\d+)\t(.*)")


@dataclass(frozen=True)
class Generation:
    """What a model said about one row.

    Attributes:
        text: the best hypothesis in plain words; may be empty.
        score: its score as fairseq-generate prints it (base-2 log-probability, normalised by length).
        log2_probability: base-2 log-probability of the whole sequence, the sum of its ``P-`` line; None without one, or
            where its ``H-`` line has as many tokens: a parallel model scores no end, and one path of the text alone.
    """

    text: str
    score: float
    log2_probability: float | None = None


@dataclass(frozen=True)
class Entry:
    """A row's best hypothesis, and where its lines lie in the file.

    Attributes:
        row: the row's 0-based index.
        generation: what the model said.
        line: number of the ``D-`` line, counted from 1 at the place where reading began.
        begin: byte offset of the ``H-`` line before it, or of the ``D-`` line without one.
        end: byte offset behind the ``P-`` line, or behind the ``D-`` line without one.
    """

    row: int
    generation: Generation
    line: int
    begin: int
    end: int


def read_generations(path: str | Path) -> dict[int, Generation]:
    """Read the best hypothesis of every row from ``generate-SPLIT.txt``.

    The file holds log lines and, for each row, ``S-`` ``T-`` ``H-`` ``D-`` ``P-`` lines; with ``--nbest`` a row has
    several ``D-`` lines in a row, best first, of which the first counts.

    Args:
        path: the results file.

    Returns:
        The generation of each row, by its 0-based index, in rising order.

    Raises:
        DataError: the file is missing, has no ``D-`` line, a malformed or cut-off one, or holds a row twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. Make it with: fairseq-generate DATA --user-dir narvl --task TASK "
            f"--path CHECKPOINT --gen-subset {_split_of(path)} --results-path {path.parent}"
        )
    found: dict[int, Generation] = {}
    with path.open("rb") as handle:
        for entry in iterate_generations(handle, path):
            if entry.row in found:
                raise DataError(
                    f"{path}, line {entry.line}: row id {entry.row} appears a second time, apart from its first lines. "
                    "The file joins several runs: generate it again."
                )
            found[entry.row] = entry.generation
    if not found:
        raise DataError(
            f"{path}: no D- line (a generated text) in it. fairseq-generate was stopped before its first batch, or ran "
            "with --quiet: run it again."
        )
    return dict(sorted(found.items()))


def iterate_generations(handle: BinaryIO, path: Path, unfinished: bool = False) -> Iterator[Entry]:
    """Read results one row after the other, from where the file is open to its end, whatever the file's size.

    Args:
        handle: the file, at the beginning of a line. Only a line feed ends a line: texts may hold other characters
            that Python takes for line ends.
        path: the file's name for messages.
        unfinished: whether the file may end anywhere, since its writer may have been killed or may still be writing.
            Then a row counts only with its ``P-`` line, which comes last.

    Yields:
        The best hypothesis of each row, in the file's order. A row whose lines begin anew is yielded again.

    Raises:
        DataError: a ``D-`` or ``P-`` line is malformed, cut off or not UTF-8.
    """
    position = handle.tell()
    waiting: Entry | None = None  # read up to its D- line
    tokens: int | None = None  # its tokens, where a line tells
    current: int | None = None  # the row whose further hypotheses may follow
    heading: tuple[int | None, int] | None = None  # the hypothesis's H- line: its tokens, and where it begins
    for number, raw in enumerate(handle, start=1):
        begin, position = position, position + len(raw)
        kind = raw[:2]
        if unfinished and not raw.endswith(b"\n"):
            return
        if kind == b"H-":
            heading = len(raw.split(b"\t")[-1].split()), begin
        if kind not in (b"S-", b"D-", b"P-"):
            continue
        if kind != b"P-" and waiting is not None:
            if not unfinished:
                yield waiting
            waiting = None
        if kind == b"S-":
            current = heading = None
        elif kind == b"D-":
            row, generation = _parse_text(_text(raw, path, number), f"{path}, line {number}")
            if row != current:
                tokens, begin = heading or (None, begin)
                waiting = Entry(row, generation, number, begin, position)
            current, heading = row, None
        elif waiting is not None:
            scores = _parse_scores(_text(raw, path, number), waiting, f"{path}, line {number}")
            total = None if len(scores) == tokens else math.fsum(scores)
            generation = Generation(waiting.generation.text, waiting.generation.score, total)
            yield Entry(waiting.row, generation, waiting.line, waiting.begin, position)
            waiting = None
    if waiting is not None and not unfinished:
        yield waiting


def _text(raw: bytes, path: Path, number: int) -> str:
    if not raw.endswith(b"\n"):
        raise DataError(f"{path}, line {number}: cut off: {raw[:60]!r}. Run fairseq-generate again.")
    try:
        return raw[:-1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 ({error}). Generate the file again.") from error


def _parse_text(line: str, where: str) -> tuple[int, Generation]:
    match = _DETOKENIZED.fullmatch(line)
    if match is not None:
        try:
            return int(match[1]), Generation(text=match[3].strip(), score=float(match[2]))
        except ValueError:
            pass
    raise DataError(
        f"{where}: malformed: {line[:60]!r}. Expected D-ID, SCORE and TEXT, separated by tabs. "
        "The file may be cut off: run fairseq-generate again."
    )


def _parse_scores(line: str, entry: Entry, where: str) -> list[float]:
    match = _POSITIONAL.fullmatch(line)
    if match is not None:
        try:
            scores = [float(score) for score in match[2].split()] if int(match[1]) == entry.row else [math.nan]
            total = math.fsum(scores)
        except (ValueError, OverflowError):  # sums may leave the range of floats
            total = math.nan
        # A parallel model may say nothing, which has no scores.
        if math.isfinite(total) and (scores or not entry.generation.text):
            return scores
    raise DataError(
        f"{where}: malformed: {line[:60]!r}. Expected P-{entry.row}, a tab, and the score of each token (base-2 "
        "logarithm), separated by blanks. Run fairseq-generate again."
    )


def _split_of(path: Path) -> str:
    return path.stem.removeprefix("generate-") if path.stem.startswith("generate-") else "SPLIT"

"""Reads the results file of fairseq-generate: the best text of each row, and its score."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from narvl.errors import DataError

_DETOKENIZED = re.compile(r"D-(\d+)\t([^\t]+)\t(.*)")


@dataclass(frozen=True)
class Generation:
    """What a model said about one row.

    Attributes:
        text: the best hypothesis in plain words; may be empty.
        score: its score as fairseq-generate prints it (base-2 log-probability, normalised by length).
    """

    text: str
    score: float


def read_generations(path: str | Path) -> dict[int, Generation]:
    """Read the best hypothesis of every row from ``generate-SPLIT.txt``.

    The file holds log lines and, for each row, ``S-`` ``T-`` ``H-`` ``D-`` ``P-`` lines; with ``--nbest`` a row has
    several ``D-`` lines in a row, best first, of which the first counts.

    Args:
        path: the results file.

    Returns:
        The generation of each row, by its 0-based index, in rising order.

    Raises:
        DataError: the file is missing, has no ``D-`` line or a malformed one, or holds a row twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. Make it with: fairseq-generate DATA --user-dir narvl --task captioning "
            f"--path CHECKPOINT --gen-subset {_split_of(path)} --results-path {path.parent}"
        )
    found: dict[int, Generation] = {}
    previous: int | None = None
    # Only "\n" ends a line here: a text may hold other characters that Python takes for line ends.
    with path.open(encoding="utf-8", newline="\n") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if not line.startswith("D-"):
                    continue
                index, generation = _parse(line.rstrip("\n"), f"{path}, line {number}")
                if index not in found:
                    found[index] = generation
                elif index != previous:
                    raise DataError(
                        f"{path}, line {number}: row id {index} appears a second time, apart from its first lines. "
                        "The file joins several runs: generate it again."
                    )
                previous = index
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error}). Generate the file again.") from error
    if not found:
        raise DataError(
            f"{path}: no D- line (a generated text) in it. fairseq-generate was stopped before its first batch, or ran "
            "with --quiet: run it again."
        )
    return dict(sorted(found.items()))


def _parse(line: str, where: str) -> tuple[int, Generation]:
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


def _split_of(path: Path) -> str:
    return path.stem.removeprefix("generate-") if path.stem.startswith("generate-") else "SPLIT"

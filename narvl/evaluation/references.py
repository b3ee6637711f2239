"""Reads what outputs are judged by: the truth in each row of a split and, for scenes, what each picture shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError
from narvl.scenes.world import Scene, load_scenes

Truth = TypeVar("Truth")


def split_file(data: str | Path, split: str) -> Path:
    """Return the path of a split's TSV file."""
    return Path(data) / f"{split}.tsv"


def open_split(data: str | Path, split: str, task: str) -> TsvFile:
    """Open a split's TSV file.

    Args:
        data: the data directory.
        split: ``train``, ``valid``, ``test`` or any other name.
        task: a key of ``narvl.data.tsv.COLUMNS``.

    Raises:
        DataError: the file is missing or empty.
    """
    return TsvFile(split_file(data, split), COLUMNS[task])


def read_row(rows: TsvFile, index: int, parse: Callable[[list[str]], Truth]) -> Truth:
    """Parse one row.

    Raises:
        DataError: the row cannot be read or parsed; the message names file and row.
    """
    try:
        return parse(rows[index])
    except DataError as error:
        raise DataError(rows.locate(index, error)) from error


def read_rows(rows: TsvFile, parse: Callable[[list[str]], Truth]) -> list[Truth]:
    """Parse all rows, in order, with a progress bar.

    Args:
        rows: the file.
        parse: takes what is needed from a row's fields.

    Raises:
        DataError: a row cannot be read or parsed; the message names file and row.
    """
    indices = tqdm(range(len(rows)), desc=f"read {rows.path.name}", unit="row", leave=False, disable=None)
    return [read_row(rows, index, parse) for index in indices]


def check_ids(found: Collection[int], results: str | Path, rows: TsvFile) -> None:
    """Check that a results file holds each row of a split once.

    Args:
        found: the 0-based indices of rows in the results file.
        results: its path.
        rows: the split.

    Raises:
        DataError: a row has no output, or an output no row.
    """
    total = len(rows)
    missing = sorted(set(range(total)) - set(found))
    extra = sorted(index for index in found if index >= total)
    counts = f"{results}: has {len(found)} rows, {rows.path} has {total}"
    if missing:
        raise DataError(
            f"{counts}; {len(missing)} of {total} rows (ids, counted from 0: {_first(missing)}) have no hypothesis. "
            "fairseq-generate may have been stopped, have dropped a batch, or have left rows out (--skip-bad-rows, "
            "--only-rows): generate the whole split."
        )
    if extra:
        raise DataError(
            f"{counts}; {len(extra)} outputs (ids, counted from 0: {_first(extra)}) have no row. The results belong to "
            "another split or another version of the data: generate the split again."
        )


def scenes_of_rows(data: str | Path, split: str, image_ids: Mapping[int, str]) -> dict[int, Scene] | None:
    """Return what rows' pictures show, where ``SPLIT.scenes.jsonl`` lies beside the split.

    Args:
        data: the data directory.
        split: the split's name.
        image_ids: the image-id of each row of interest, by its 0-based index.

    Raises:
        DataError: the file is damaged, or lacks a row's scene.
    """
    path = Path(data) / f"{split}.scenes.jsonl"
    if not path.is_file():
        return None
    scenes = load_scenes(path)
    missing = [index for index, image_id in image_ids.items() if image_id not in scenes]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(image_ids)} images have no scene, the first is {image_ids[missing[0]]!r} "
            f"(row {missing[0] + 1}). The TSV and the scenes come from different runs: make both again."
        )
    return {index: scenes[image_id] for index, image_id in image_ids.items()}


def _first(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")

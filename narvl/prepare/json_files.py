"""Reads the JSON files of public data sets, and files of detected objects, with errors that name file and place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from narvl.errors import DataError, UsageError
from narvl.prepare.fields import clean, join, show


def read_json(
    path: Path,
    *,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Read a whole JSON file.

    The annotation files of these data sets have up to about a gigabyte; they are parsed at once, in memory. The hooks
    let a caller drop what it does not need while the file is parsed, which keeps the peak near the file's size.

    Args:
        path: the file.
        object_hook: as in ``json.load``.
        object_pairs_hook: as in ``json.load``.

    Raises:
        DataError: the file is missing or is no JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return json.load(stream, object_hook=object_hook, object_pairs_hook=object_pairs_hook)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give the file as it was downloaded.") from error
    except (ValueError, RecursionError) as error:  # json's and UTF-8's errors are ValueErrors
        raise DataError(f"{path}: no JSON file ({error}). It is damaged: download it again.") from error


def records(path: Path, content: Any, name: str) -> list[dict[str, Any]]:
    """Return the list of records that a JSON file holds under a name.

    Raises:
        DataError: there is no such list, or it holds something else than records.
    """
    listed = content.get(name) if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise DataError(f"{path}: holds no list {name!r}. Give the file as it was downloaded.")
    for index, record in enumerate(listed):
        if not isinstance(record, dict):
            raise DataError(f"{path}, {name}[{index}]: {show(record)} is no record. Download the file again.")
    return listed


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the 1-based line number and the record of each line that is not blank, one line in memory at a time.

    Raises:
        DataError: the file is missing, or a line is no JSON record.
    """
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            for line, text in enumerate(stream, start=1):
                if text.strip():
                    record = json.loads(text)
                    if not isinstance(record, dict):
                        raise DataError(f"{path}, row {line}: {show(record)} is no JSON record. Correct the row.")
                    yield line, record
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give the file as it was downloaded.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8, after row {line} ({error}). Save the file as UTF-8.") from error
    except DataError:
        raise
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are no JSONDecodeError
        raise DataError(f"{path}, row {line}: no JSON ({error}). The row is damaged: correct or remove it.") from error


class ObjectNames:
    """The detected objects of each image, as the column ``predicted objects`` holds them.

    Args:
        path: ``--objects``: a JSON file that maps an image's id to a list of names, best first. None: no image has any.

    Raises:
        UsageError: there is no such file.
        DataError: it maps to something else than lists of names.
    """

    def __init__(self, path: Path | None) -> None:
        self._fields: dict[str, str] = {}
        if path is None:
            return
        if not path.is_file():
            raise UsageError(f"--objects {path}: no such file. Give a JSON file that maps image ids to lists of names.")
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path}: begins with no {{. Map each image id to a list of names.")
        for image_id, names in content.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise DataError(f"{path}, image {image_id}: {show(names)} is no list of names. Give one.")
            self._fields[image_id] = join(map(clean, names))

    def field(self, image_id: int | str) -> str:
        """Return the column of one image; empty where the file does not name it."""
        return self._fields.get(str(image_id), "")

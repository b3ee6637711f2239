"""Finds the image files of a public data set, and gathers the rows that show each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from narvl.errors import DataError
from narvl.prepare.output import BadRows

_Row = TypeVar("_Row")

# An error that names every one of a hundred thousand files helps nobody.
_NAMED = 5


class ImageFolders:
    """The folders of ``--images``, each listed once: asking for a file is then a look-up, on slow disks too.

    Args:
        roots: the folders, in the order in which they are searched.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._names: dict[Path, frozenset[str]] = {}

    def find(self, name: str, subfolder: str = "") -> Path | None:
        """Return the path of an image file, or None where no folder holds it.

        Args:
            name: the file's name. Annotations are untrusted: a name that leads elsewhere is not found.
            subfolder: where data sets spread their images over folders ("train2014"), the one that it is in; the
                file may lie in that folder of a root or in the root itself.
        """
        for root in self._roots:
            for folder in (root / subfolder, root) if _is_plain(subfolder) else (root,):
                if _is_plain(name) and name in self._list(folder):
                    return folder / name
        return None

    def __str__(self) -> str:
        return ", ".join(map(str, self._roots))

    def _list(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return self._names[folder]


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not any(character in name for character in "/\\\0")


@dataclass
class ImageRows(Generic[_Row]):
    """An image and the rows that show it; it is read and encoded once for all of them.

    Attributes:
        path: the image file.
        where: file and record of the first row, for messages.
        rows: the rows, in the order of the annotations.
    """

    path: Path
    where: str
    rows: list[_Row] = field(default_factory=list)


class RowsByImage(Generic[_Row]):
    """The rows of each split, gathered by image, both in the order of appearance.

    Args:
        folders: where the images are.
        bad_rows: told of each row whose image is missing.
    """

    def __init__(self, folders: ImageFolders, bad_rows: BadRows) -> None:
        self._folders = folders
        self._bad_rows = bad_rows
        self._splits: dict[str, dict[str, ImageRows[_Row]]] = {}
        self._missing: dict[str, list[str]] = {}

    def add(self, split: str, name: str, subfolder: str, where: str, row: _Row) -> None:
        """Add a row.

        Args:
            split: its split.
            name: name of its image file.
            subfolder: folder that the image belongs to, or "".
            where: file and record, for messages.
            row: the row.
        """
        images = self._splits.setdefault(split, {})
        if name not in images:
            path = self._folders.find(name, subfolder)
            if path is None:
                self._missing.setdefault(name, []).append(where)
                return
            images[name] = ImageRows(path, where)
        images[name].rows.append(row)

    def splits(self) -> dict[str, list[ImageRows[_Row]]]:
        """Return the images of each split that has any, once all rows are added.

        Raises:
            DataError: images are missing, and bad rows are not skipped; or no image is left.
        """
        if self._missing:
            names = list(self._missing)
            rows = sum(map(len, self._missing.values()))
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            if not self._bad_rows.skip:
                raise DataError(
                    f"{self._missing[names[0]][0]}: no such image file: {names[0]}. --images {self._folders} lacks "
                    f"{len(names):,} images of {rows:,} rows: {', '.join(names[:_NAMED])}{more}. Unpack all image "
                    "archives there, or leave such rows out with --skip-bad-rows."
                )
            for name, places in self._missing.items():
                self._bad_rows.report("of a missing image", f"{places[0]}: no such image file: {name}", len(places))
        splits = {split: list(images.values()) for split, images in self._splits.items() if images}
        if not splits:
            raise DataError(
                f"--images {self._folders}: no usable row in the annotations of these splits. Check that "
                "--annotations and --splits are of this data set."
            )
        return splits

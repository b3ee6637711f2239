"""Writes the rows of a public data set: images in parallel, resumable, with its sizes beside the published ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from narvl.data.tsv import COLUMNS
from narvl.errors import DataError
from narvl.prepare.encode import EncodedImage, encode_image, map_in_order
from narvl.prepare.fields import BadRow
from narvl.prepare.folders import ImageRows
from narvl.prepare.options import Options
from narvl.prepare.output import BadRows, install_bpe_files, warn_of_other_splits
from narvl.prepare.published import Published, Size
from narvl.prepare.staging import Progress, StagedConversion, open_staging

# Part of the fingerprint: raised when the same arguments begin to give other bytes.
_FORMAT = 1
SUMMARY = "prepare.json"

_Row = TypeVar("_Row")


def plain_fields(row: Sequence[str], image: EncodedImage) -> Sequence[str]:
    """Return a row whose fields do not depend on its image."""
    return row


@dataclass(frozen=True)
class Conversion(Generic[_Row]):
    """A data set that has been read and awaits its images.

    Attributes:
        source: the source's name on the command line.
        task: the task whose columns are written (a key of ``narvl.data.tsv.COLUMNS``).
        splits: the images of each split.
        fields: from a row and its encoded image to the row's columns without the image; may raise ``BadRow``.
        files: the annotation files read; where one changes, a stopped conversion begins anew.
        published: the published sizes.
        bad_rows: what reading the annotations has left out.
        extra: further files of the data directory and their text.
    """

    source: str
    task: str
    splits: dict[str, list[ImageRows[_Row]]]
    fields: Callable[[_Row, EncodedImage], Sequence[str]]
    files: Sequence[Path]
    published: Published
    bad_rows: BadRows
    extra: dict[str, str] = field(default_factory=dict)


def convert(conversion: Conversion[Any], options: Options) -> None:
    """Write the data directory and, to standard output, a table of what it holds; ``prepare.json`` has the figures too.

    Args:
        conversion: the data set.
        options: the flags.

    Raises:
        DataError: an image or row cannot be used; what is done so far is kept for the next run.
        UsageError: the data directory cannot be written.
    """
    from narvl.provenance import provenance

    with open_staging(
        options.out, _fingerprint(conversion, options), list(conversion.splits), options.skip_bad_rows
    ) as staging:
        warn_of_other_splits(options.out, conversion.splits)
        for split, images in conversion.splits.items():
            if not staging.progress[split].complete:
                _write_split(conversion, options, staging, split, images)
        skipped = conversion.bad_rows.counts.copy()
        for progress in staging.progress.values():
            skipped.update(progress.skipped)
        record = {
            "source": conversion.source,
            "splits": {
                split: _figures(progress, conversion.published.splits.get(split, Size()))
                for split, progress in staging.progress.items()
            },
            "skipped": dict(skipped),
            "published": conversion.published.source,
            "provenance": provenance(),
        }
        install_bpe_files(options.bpe_dir, options.out)
        staging.finish({**conversion.extra, SUMMARY: json.dumps(record, indent=2, ensure_ascii=False) + "\n"})
    sys.stdout.write(_report(conversion, options, staging.progress, skipped))


def _write_split(
    conversion: Conversion[_Row], options: Options, staging: StagedConversion, split: str, images: list[ImageRows[_Row]]
) -> None:
    """Write a split's file from where an earlier run has stopped."""
    begin = staging.progress[split]
    bad_rows = BadRows(options.skip_bad_rows)
    bad_rows.counts.update(begin.skipped)
    encoded = map_in_order(partial(_encode, options.max_side), images[begin.done :], options.workers)
    progress = tqdm(encoded, initial=begin.done, total=len(images), desc=split, unit="image")
    with staging.open_split(split) as file, contextlib.closing(encoded), progress:
        for image_rows, future in progress:
            rows: list[list[str]] = []
            converted = False
            try:
                image = future.result()
            except DataError as error:
                bad_rows.report("of an unreadable image", f"{image_rows.where}: {error}", len(image_rows.rows))
            else:
                rows = _rows(conversion, image_rows, image, bad_rows)
                converted = image.converted
            file.add_image(rows, converted, bad_rows.counts)
        if not staging.progress[split].rows:
            raise DataError(
                f"{images[0].where}: no usable row is left for the split {split}. See the skipped rows above."
            )
        file.complete()


def _encode(max_side: int | None, image_rows: ImageRows[Any]) -> EncodedImage:
    return encode_image(image_rows.path, max_side)


def _rows(
    conversion: Conversion[_Row], image_rows: ImageRows[_Row], image: EncodedImage, bad_rows: BadRows
) -> list[list[str]]:
    """Build the rows of an image, with the image in its column."""
    column = COLUMNS[conversion.task].index("image")
    rows = []
    for row in image_rows.rows:
        try:
            fields = list(conversion.fields(row, image))
        except BadRow as error:
            bad_rows.report(error.reason, f"{image_rows.path}: {error}")
        else:
            fields.insert(column, image.text)
            rows.append(fields)
    return rows


def _fingerprint(conversion: Conversion[Any], options: Options) -> str:
    """Stand for everything that the written bytes depend on, the images' own content excepted."""
    files = [*conversion.files, *([options.objects] if options.objects else [])]
    state = {
        "format": _FORMAT,
        "source": conversion.source,
        "files": [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files],
        "images": [str(path.resolve()) for path in options.images],
        "splits": {split: len(images) for split, images in conversion.splits.items()},
        "max_side": options.max_side,
    }
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _figures(progress: Progress, published: Size) -> dict[str, Any]:
    return {
        "rows": progress.rows,
        "images": progress.images,
        "converted": progress.converted,
        "bytes": progress.bytes,
        "published": {"rows": published.rows, "images": published.images},
    }


def _report(conversion: Conversion[Any], options: Options, splits: dict[str, Progress], skipped: Counter[str]) -> str:
    """Write the table of rows and images, each beside its published number, and what was left out."""
    from tabulate import tabulate

    table = []
    for split, progress in splits.items():
        size = conversion.published.splits.get(split, Size())
        table.append(
            [
                f"{split}.tsv",
                *(f"{progress.rows:,}", _number(size.rows), f"{progress.images:,}", _number(size.images)),
                *(f"{progress.converted:,}", f"{progress.bytes / 1e6:,.1f}"),
            ]
        )
    headers = ["file", "rows", "published", "images", "published", "re-encoded", "MB"]
    lines = [
        f"{options.out}:",
        tabulate(table, headers=headers, disable_numparse=True, colalign=("left", *["right"] * 6)),
        f"published: {conversion.published.source}.",
        *(f"left out: {count:,} rows {reason}" for reason, count in skipped.items()),
    ]
    return "\n".join([*lines, f"also written: {', '.join([*conversion.extra, SUMMARY])}"]) + "\n"


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"

"""Converts a folder of photos and a CSV file of captions into a captioning data directory.

The CSV file has a header with the columns split, image and caption, and one row a caption. An image with several
captions has several rows; training keeps them apart, validation and test join them as references of one example.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from narvl.data.tsv import SEPARATOR
from narvl.errors import DataError, UsageError
from narvl.prepare.captions_csv import Photo, read_captions
from narvl.prepare.encode import EncodedImage, encode_image, map_in_order
from narvl.prepare.options import add_writing_arguments, check_writing_arguments
from narvl.prepare.output import BadRows, staged_data_directory

HELP = "photos and a CSV file of captions (columns split, image, caption)"


@dataclass
class SplitSummary:
    """What was written for one split."""

    rows: int = 0
    images: int = 0
    converted: int = 0
    bytes: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``narvl prepare photos``."""
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the image files")
    parser.add_argument(
        "--captions",
        type=Path,
        required=True,
        metavar="CSV",
        help="UTF-8 file with the columns split (train, valid or test), image (file name in --images), caption",
    )
    add_writing_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Convert, and write a summary to standard output."""
    summaries, skipped = prepare_photos(
        images=args.images,
        captions=args.captions,
        out=args.out,
        bpe_dir=args.bpe_dir,
        max_side=args.max_side,
        workers=args.workers,
        skip_bad_rows=args.skip_bad_rows,
    )
    for split, summary in summaries.items():
        sys.stdout.write(
            f"{args.out / split}.tsv: {summary.rows:,} rows of {summary.images:,} images ({summary.converted:,} "
            f"converted to RGB JPEG, the others copied), {summary.bytes / 1e6:,.1f} MB\n"
        )
    if args.skip_bad_rows:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
        sys.stdout.write(f"skipped: {skipped.total():,} rows{f' ({reasons})' if reasons else ''}\n")


def prepare_photos(
    *,
    images: Path,
    captions: Path,
    out: Path,
    bpe_dir: Path,
    max_side: int | None = None,
    workers: int = 1,
    skip_bad_rows: bool = False,
) -> tuple[dict[str, SplitSummary], Counter[str]]:
    """Write the data directory ``out``: a TSV file for each split that has rows, and the BPE files.

    Args:
        images: folder of the image files.
        captions: the CSV file.
        out: made where it does not exist; its files appear only once everything is written.
        bpe_dir: folder of the BPE files.
        max_side: longest side of an image in pixels; None: any.
        workers: number of threads, at least 1.
        skip_bad_rows: log and count rows that cannot be used, instead of stopping at the first.

    Returns:
        What was written for each split, and the number of skipped rows by reason.

    Raises:
        UsageError: an argument cannot be used.
        DataError: the CSV file, or a row or image of it, cannot be used.
    """
    if not images.is_dir():
        raise UsageError(f"--images {images}: no such folder. Give the folder that holds the image files.")
    check_writing_arguments(bpe_dir, max_side, workers)
    bad_rows = BadRows(skip_bad_rows)
    splits = read_captions(captions, images, bad_rows)
    summaries: dict[str, SplitSummary] = {}
    with staged_data_directory(out, list(splits), bpe_dir) as paths:
        for split, photos in splits.items():
            encoded = map_in_order(partial(_encode, images, max_side), photos, workers)
            progress = tqdm(encoded, total=len(photos), desc=split, unit="image")
            with contextlib.closing(encoded), paths[split].open("w", encoding="utf-8", newline="\n") as stream:
                summary = SplitSummary()
                for photo, future in progress:
                    try:
                        image = future.result()
                    except DataError as error:
                        where = f"{captions}, row {photo.rows[0]}"
                        bad_rows.report("of an unreadable image", f"{where}: {error}", rows=len(photo.rows))
                    else:
                        _write(stream, split, photo, image, summary)
            if not summary.rows:
                raise DataError(f"{captions}: no usable row is left for the split {split}. See the skipped rows above.")
            summary.bytes = paths[split].stat().st_size
            summaries[split] = summary
    return summaries, bad_rows.counts


def _encode(images: Path, max_side: int | None, photo: Photo) -> EncodedImage:
    return encode_image(images / photo.name, max_side)


def _write(stream: TextIO, split: str, photo: Photo, image: EncodedImage, summary: SplitSummary) -> None:
    """Write a photo's rows: in training one a caption, else one with all captions as references."""
    targets = photo.captions if split == "train" else [SEPARATOR.join(photo.captions)]
    for target in targets:
        fields = (str(summary.rows), photo.image_id, target, "", image.text)
        stream.write("\t".join(fields) + "\n")
        summary.rows += 1
    summary.images += 1
    summary.converted += image.converted

"""The flags that converting any public data set takes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from narvl.errors import UsageError
from narvl.prepare.output import BPE_FILES, check_bpe_dir


def add_writing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where and how rows are written, the same for photos and public data sets."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="data directory to write")
    parser.add_argument(
        "--bpe-dir", type=Path, required=True, metavar="DIR", help=f"folder of {', '.join(BPE_FILES)} (GPT-2's formats)"
    )
    parser.add_argument(
        "--max-side",
        type=int,
        metavar="PX",
        help="scale images down to this longest side, which saves disk where photos are far larger than the model's "
        "input (default: keep their size)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="images converted at the same time (default: the number of cores)",
    )
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="log, count and leave out rows that cannot be used (default: stop)"
    )


def check_writing_arguments(bpe_dir: Path, max_side: int | None, workers: int) -> None:
    """Check the values of the flags that say how rows are written.

    Raises:
        UsageError: a value cannot be used.
    """
    if max_side is not None and max_side < 1:
        raise UsageError(f"--max-side {max_side}: must be at least 1 pixel.")
    if workers < 1:
        raise UsageError(f"--workers {workers}: must be at least 1.")
    check_bpe_dir(bpe_dir)


def add_data_set_arguments(
    parser: argparse.ArgumentParser, annotations: str, images: str, splits: Iterable[str]
) -> None:
    """Add the flags of a public data set.

    Args:
        parser: the source's parser.
        annotations: help of ``--annotations``.
        images: help of ``--images``.
        splits: the data set's splits, by the names that they get here.
    """
    parser.add_argument("--annotations", type=Path, required=True, metavar="PATH", help=annotations)
    parser.add_argument("--images", type=Path, required=True, nargs="+", metavar="DIR", help=images)
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="NAME",
        choices=list(splits),
        help=f"convert these alone, of {', '.join(splits)} (default: all that the annotations hold)",
    )
    add_writing_arguments(parser)


def add_objects_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--objects``."""
    parser.add_argument(
        "--objects",
        type=Path,
        metavar="JSON",
        help='file of detected objects for the column of that name: {"IMAGE ID": ["name", ...], ...}, best first '
        "(default: the column stays empty)",
    )


@dataclass(frozen=True)
class Options:
    """What a conversion is told.

    Attributes:
        annotations: the annotation file, or the folder that holds them.
        images: folders of the images.
        splits: names of the splits to convert; None for all.
        out: the data directory.
        bpe_dir: folder of the BPE files.
        max_side: longest side of an image in pixels; None: any.
        workers: number of threads, at least 1.
        skip_bad_rows: log and count rows that cannot be used, instead of stopping.
        objects: file of detected objects; None: none.
    """

    annotations: Path
    images: tuple[Path, ...]
    splits: tuple[str, ...] | None
    out: Path
    bpe_dir: Path
    max_side: int | None
    workers: int
    skip_bad_rows: bool
    objects: Path | None = None

    @classmethod
    def of(cls, args: argparse.Namespace, objects: Path | None = None) -> Options:
        """Take the parsed flags over and check them.

        Raises:
            UsageError: a value cannot be used.
        """
        if not args.annotations.exists():
            raise UsageError(f"--annotations {args.annotations}: no such file or folder. See --help for what it holds.")
        for folder in args.images:
            if not folder.is_dir():
                raise UsageError(f"--images {folder}: no such folder. Give the folder that holds the image files.")
        check_writing_arguments(args.bpe_dir, args.max_side, args.workers)
        return cls(
            annotations=args.annotations,
            images=tuple(args.images),
            splits=tuple(args.splits) if args.splits else None,
            out=args.out,
            bpe_dir=args.bpe_dir,
            max_side=args.max_side,
            workers=args.workers,
            skip_bad_rows=args.skip_bad_rows,
            objects=objects,
        )

    def wants(self, split: str) -> bool:
        """Tell whether a split is to be converted."""
        return self.splits is None or split in self.splits

"""Sequence-level distillation (model.md 7): the teacher's captions of the training images become the targets."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from tqdm import tqdm

from narvl.data.text import clean_caption
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.data.vocabulary import BPE_FILES
from narvl.errors import DataError
from narvl.evaluation.generations import read_generations

logger = logging.getLogger(__name__)

#: The split that the teacher decodes: the training images, a row each.
TEACHER_SPLIT = "teacher"
_COLUMNS = COLUMNS["captioning"]
_IMAGE_ID, _CAPTION = _COLUMNS.index("image-id"), _COLUMNS.index("caption")


def write_teacher_rows(data: str | Path, out: str | Path) -> int:
    """Begin a student's data folder: one row for each training image, for the teacher to decode.

    Training files repeat an image for each of its captions; the first row of each image is kept. Everything else that
    a data folder holds (validation, test, BPE, truth) is linked or copied.

    Args:
        data: the folder with train.tsv.
        out: the student's data folder; created.

    Returns:
        The number of images.

    Raises:
        DataError: train.tsv is missing or a row is malformed.
    """
    data, out = Path(data), Path(out)
    rows = TsvFile(data / "train.tsv", _COLUMNS)
    out.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    partial = out / f"{TEACHER_SPLIT}.tsv.partial"
    with partial.open("w", encoding="utf-8") as file:
        for index in tqdm(range(len(rows)), desc="teacher rows", unit="row", disable=None):
            fields = rows[index]
            if fields[_IMAGE_ID] not in seen:
                seen.add(fields[_IMAGE_ID])
                file.write("\t".join(fields) + "\n")
    os.replace(partial, out / f"{TEACHER_SPLIT}.tsv")
    shared = [*BPE_FILES, "valid.tsv", "test.tsv", "valid.scenes.jsonl", "test.scenes.jsonl"]
    for name in shared:
        if (data / name).is_file() and data.resolve() != out.resolve():
            _link(data / name, out / name)
    return len(seen)


def write_targets(out: str | Path, results: str | Path, max_words: int) -> tuple[int, int]:
    """Finish a student's data folder: train.tsv, with the teacher's captions as targets.

    Args:
        out: the student's data folder, begun by ``write_teacher_rows``.
        results: what ``fairseq-generate --gen-subset teacher`` wrote.
        max_words: words of a caption that are kept.

    Returns:
        The number of rows, and how many of them kept the human caption because the teacher's is empty.

    Raises:
        DataError: a row has no caption of the teacher, or the results name rows that do not exist.
    """
    out = Path(out)
    rows = TsvFile(out / f"{TEACHER_SPLIT}.tsv", _COLUMNS)
    generations = read_generations(Path(results))
    missing = [index for index in range(len(rows)) if index not in generations]
    surplus = [index for index in generations if not 0 <= index < len(rows)]
    if missing or surplus:
        raise DataError(
            f"{results}: {len(missing)} of {len(rows)} rows of {rows.path} have no caption (first: {missing[:5]}), and "
            f"{len(surplus)} ids are of no row (first: {surplus[:5]}). Decode --gen-subset {TEACHER_SPLIT} of the same "
            "folder, completely."
        )
    empty = 0
    partial = out / "train.tsv.partial"
    with partial.open("w", encoding="utf-8") as file:
        for index in tqdm(range(len(rows)), desc="targets", unit="row", disable=None):
            fields = rows[index]
            caption = clean_caption(generations[index].text, max_words)
            if caption:
                fields[_CAPTION] = caption
            else:
                empty += 1
                logger.warning("%s: the teacher's caption is empty; the human one stays", rows.where(index))
            file.write("\t".join(fields) + "\n")
    os.replace(partial, out / "train.tsv")
    return len(rows), empty


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system cannot."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

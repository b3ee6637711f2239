"""First step: the rows that the teacher decodes, and what else the student's data folder needs."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

from tqdm import tqdm

from narvl.data.tsv import TsvFile
from narvl.data_folder import CaptionedImages, begin_folder, link, link_rest
from narvl.distillation.folder import TASKS, find_shards, teacher_path, write_task
from narvl.errors import UsageError
from narvl.files import named_when_full


def write_teacher_rows(data: str | Path, out: str | Path, task: str = "captioning") -> int:
    """Begin a student's data folder: the training rows for the teacher to decode.

    Captioning: training files repeat an image for each of its captions; the first row of each image is kept. VQA: every
    row is kept, so the file is the training file itself under a second name. Everything else that a data folder holds
    (validation, test, BPE, truth) is linked or copied. Images stay the text they are; none is decoded.

    Args:
        data: the folder with train.tsv.
        out: the student's data folder; created.
        task: ``captioning`` or ``vqa``.

    Returns:
        The number of rows to decode.

    Raises:
        DataError: train.tsv is missing or a row is malformed (VQA: the first row; decoding reads the others).
        UsageError: the folders are the same, the disk is full, the task's targets are not distilled, or the folder
            holds texts for other rows.
    """
    data, out = Path(data), Path(out)
    if task not in TASKS:
        raise UsageError(f"--task {task}: choose one of {', '.join(TASKS)}. Other tasks have one right answer a row.")
    rows = begin_folder(data, out, task)
    if task == "captioning":
        count = _write_first_rows(rows, teacher_path(out))
    else:
        count = len(rows)
        rows[0]  # a file of another task shows in its first row
        _check_shards(rows.path, teacher_path(out))
        link(rows.path, teacher_path(out))
    link_rest(data, out)
    write_task(out, task)
    return count


def _write_first_rows(rows: TsvFile, path: Path) -> int:
    """Write the first row of each image; return how many."""
    images = CaptionedImages(rows)
    partial = path.with_name(path.name + ".partial")
    with named_when_full(path), partial.open("w", encoding="utf-8", newline="\n") as file:
        for index in tqdm(range(len(rows)), desc="teacher rows", unit="row", disable=None):
            first, fields = images.first_row(index)
            if first == index:
                file.write("\t".join(fields) + "\n")
    _check_shards(partial, path)
    os.replace(partial, path)
    return len(images)


def _check_shards(rows: Path, path: Path) -> None:
    """Refuse rows that are not those that shards were begun for: texts and images are matched by their places."""
    if path.is_file() and find_shards(path.parent) and not filecmp.cmp(rows, path, shallow=False):
        raise UsageError(
            f"--out {path.parent}: its shards/ holds a teacher's texts for other rows than train.tsv has now. Delete "
            "it, or give another folder."
        )

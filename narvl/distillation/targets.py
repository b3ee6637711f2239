"""Last step: the student's train.tsv, with the teacher's texts as targets."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from narvl.data import captioning, vqa
from narvl.data.text import clean_caption
from narvl.data.tsv import COLUMNS, SEPARATOR
from narvl.distillation.folder import find_shards, open_rows, read_task
from narvl.distillation.results import TeacherResults
from narvl.errors import DataError, UsageError
from narvl.evaluation.generations import Generation
from narvl.files import named_when_full

logger = logging.getLogger(__name__)

#: The least confidence that is written: four digits, and never 0, which would take a row out of training unseen.
LEAST_CONFIDENCE = 1e-4
#: So many unusable texts, and no other, are not by chance.
_NO_CHANCE = 10
_TARGET_COLUMN = {"captioning": "caption", "vqa": "answers"}


@dataclass(frozen=True)
class Choices:
    """How the teacher's texts become targets.

    Attributes:
        max_words: words of a caption that are kept.
        confidence: VQA: write the probability that the teacher gave to its answer, instead of 1.
        min_confidence: drop rows whose text has a lower probability, 0 to 1.
        drop_missing: leave out the bad rows that decoding has left out.
    """

    max_words: int = 20
    confidence: bool = False
    min_confidence: float = 0.0
    drop_missing: bool = False


@dataclass
class Counts:
    """What became of the rows.

    Attributes:
        written: rows of train.tsv.
        human: of those, the rows that kept the human target since the teacher's text cannot be one.
        unsure: rows dropped for a probability below ``min_confidence``.
        missing: rows dropped since the teacher could not decode them.
        without: rows dropped since neither teacher nor people have a target for them.
    """

    written: int = 0
    human: int = 0
    unsure: int = 0
    missing: int = 0
    without: int = 0


def write_targets(out: str | Path, results: Sequence[str | Path] = (), choices: Choices | None = None) -> Counts:
    """Finish a student's data folder: train.tsv, with the teacher's texts as targets.

    Rows are read and written one at a time. The file gets its name when it is complete.

    Args:
        out: the student's data folder, begun by ``write_teacher_rows``.
        results: what ``fairseq-generate --gen-subset teacher`` wrote, in one or several files; none: the shards of
            ``decode_shard``.
        choices: how texts become targets.

    Returns:
        What became of the rows.

    Raises:
        DataError: a row is missing or came back twice, the results name rows that do not exist, a file is damaged,
            or no row is left.
        UsageError: a choice does not fit the task, or the disk is full.
    """
    out, choices = Path(out), choices or Choices()
    task = read_task(out)
    _check(choices, task)
    rows = open_rows(out, task)
    paths = [Path(path) for path in results] or find_shards(out)
    if not paths:
        raise DataError(f"{out / 'shards'}: no results. Run narvl distill decode, or give --results FILE.")
    column = COLUMNS[task].index(_TARGET_COLUMN[task])
    counts = Counts()
    partial = out / "train.tsv.partial"
    with closing(TeacherResults(paths, rows)) as teacher:
        teacher.check(out, choices.drop_missing)
        with named_when_full(partial), partial.open("w", encoding="utf-8", newline="\n") as file:
            for index in tqdm(range(len(rows)), desc="targets", unit="row", disable=None):
                generation = teacher[index]
                if generation is None:
                    counts.missing += 1
                    continue
                try:
                    fields = rows[index]
                    target = _target(task, fields, generation, choices, counts)
                except DataError as error:
                    raise DataError(rows.locate(index, error)) from error
                if target is not None:
                    fields[column] = target
                    counts.written += 1
                    file.write("\t".join(fields) + "\n")
    if counts.written == counts.human >= _NO_CHANCE:
        partial.unlink()
        raise DataError(
            f"{out}: of the teacher's texts for {counts.human} rows not one can be a target. Decode them by a "
            "checkpoint that was trained for the task."
        )
    if not counts.written:
        partial.unlink()
        raise DataError(f"{rows.path}: none of its {len(rows)} rows has a target ({counts}). Lower --min-confidence.")
    if counts.human:
        logger.warning("%s: the teacher's text is empty for %d rows; the human target stays", out, counts.human)
    os.replace(partial, out / "train.tsv")
    return counts


def probability(generation: Generation) -> float:
    """Return the probability that the teacher gave to a text, as a weight: at least ``LEAST_CONFIDENCE``, at most 1.

    Raises:
        DataError: the results tell of no such probability.
    """
    if generation.log2_probability is None:
        raise DataError(
            "the results tell no probability of the text: they have no P- line, or one without a score of the end, "
            "as parallel models write. Decode the row again, by an autoregressive teacher, or ask for no confidence."
        )
    # Rounded scores can add up to a little above 0.
    return max(LEAST_CONFIDENCE, 2.0 ** min(0.0, generation.log2_probability))


def _target(task: str, fields: list[str], generation: Generation, choices: Choices, counts: Counts) -> str | None:
    """Return the new content of the target's column; None drops the row."""
    if choices.min_confidence and probability(generation) < choices.min_confidence:
        counts.unsure += 1
        return None
    target = _caption(generation, choices) if task == "captioning" else _answer(generation, choices)
    if target:
        return target
    if not (captioning.references(fields) if task == "captioning" else vqa.answers(fields)):
        counts.without += 1
        return None
    counts.human += 1
    return fields[COLUMNS[task].index(_TARGET_COLUMN[task])]


def _caption(generation: Generation, choices: Choices) -> str:
    return clean_caption(generation.text, choices.max_words)


def _answer(generation: Generation, choices: Choices) -> str:
    text = " ".join(generation.text.split())
    if not text or SEPARATOR in text or vqa.CONFIDENCE_END in text:  # the column would be read as something else
        return ""
    return vqa.write_answers([(probability(generation) if choices.confidence else 1.0, text)])


def _check(choices: Choices, task: str) -> None:
    if choices.max_words < 1:
        raise UsageError(f"--max-tgt-words {choices.max_words}: give at least 1.")
    if not 0.0 <= choices.min_confidence <= 1.0:
        raise UsageError(f"--min-confidence {choices.min_confidence}: give a probability, 0 to 1.")
    if choices.confidence and task == "captioning":
        raise UsageError("--confidence: captioning rows have no column for it. Use --min-confidence, or leave it out.")

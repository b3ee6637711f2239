"""Writes a data set of scenes: the TSV files of a task, the scenes' truth and the BPE, all or nothing."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tqdm import tqdm

from narvl.errors import UsageError
from narvl.prepare.answers import CANDIDATES, candidates
from narvl.scenes import bpe
from narvl.scenes.rows import TASKS, Row, rows
from narvl.scenes.world import check_scene_options, sample_scene

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
PARTIAL = ".partial"
# A box is four location bins and </s>.
BOX_TOKENS = 5


@dataclass(frozen=True)
class Plan:
    """What to write.

    Attributes:
        task: a key of `rows.TASKS`.
        seed: any integer.
        scenes: number of scenes of train, valid and test.
        image_size: side of the images in pixels, 32 to 1024.
        objects: least and greatest number of objects in a scene, each 2 to 4.
    """

    task: str = "captioning"
    seed: int = 0
    scenes: tuple[int, int, int] = (4000, 200, 500)
    image_size: int = 64
    objects: tuple[int, int] = (2, 2)

    def check(self) -> None:
        """Refuse what cannot be written.

        Raises:
            UsageError: a value is out of range; the message names the command's flag.
        """
        if self.task not in TASKS:
            raise UsageError(f"--task {self.task}: choose one of {', '.join(TASKS)}")
        for split, count in zip(SPLITS, self.scenes, strict=True):
            if count < 1:
                raise UsageError(f"--{split} {count}: give at least 1 scene")
        check_scene_options(self.image_size, self.objects)


@dataclass
class Summary:
    """What was written.

    Attributes:
        rows: number of rows of each split.
        vocabulary: number of tokens of the BPE.
        targets: number of targets measured: one for each row.
        total_tokens: tokens of all targets together, each with its </s>.
        longest: tokens of the longest target, with </s>: NARVL needs at least so many queries.
        examples: the sentences of the first training rows.
    """

    rows: dict[str, int]
    vocabulary: int
    targets: int
    total_tokens: int
    longest: int
    examples: list[tuple[str, ...]]


def write_scenes(plan: Plan, out: str | Path) -> Summary:
    """Write a data set. Files get their names when all are complete; an interrupted run leaves no data set.

    Args:
        plan: what to write.
        out: the folder; made if missing. Files of an earlier data set in it are replaced.

    Returns:
        Figures and examples.

    Raises:
        UsageError: the plan is out of range or the folder cannot be written.
    """
    plan.check()
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder}: the folder cannot be made ({error.strerror}): give another one") from error
    names = [f"{split}{suffix}" for suffix in (".scenes.jsonl", ".tsv") for split in SPLITS]
    names = ["encoder.json", "vocab.bpe", "dict.txt", *names]
    written = [*([CANDIDATES] if plan.task == "vqa" else []), *names]
    names.append(CANDIDATES)
    if any((folder / name).exists() for name in names):
        logger.warning("%s: replacing the data set that is there", folder)
    try:
        summary = _write_partial(plan, folder)
        # The old set goes first and train.tsv comes last: a mixture of two sets, if interrupted here, lacks train.tsv.
        for name in names:
            (folder / name).unlink(missing_ok=True)
        for name in (*(name for name in written if name != "train.tsv"), "train.tsv"):
            (folder / (name + PARTIAL)).rename(folder / name)
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be written ({error.strerror}): give another one") from error
    finally:
        for name in names:
            (folder / (name + PARTIAL)).unlink(missing_ok=True)
    return summary


def _write_partial(plan: Plan, folder: Path) -> Summary:
    tokenizer, counts = bpe.train()
    for name, content in bpe.gpt2_files(tokenizer, counts).items():
        (folder / (name + PARTIAL)).write_bytes(content)
    summary = Summary({}, tokenizer.get_vocab_size(), 0, 0, 0, [])
    answers: Counter[str] = Counter()
    for split, count in zip(SPLITS, plan.scenes, strict=True):
        summary.rows[split] = 0
        with (
            (folder / f"{split}.tsv{PARTIAL}").open("w", encoding="utf-8", newline="\n") as table,
            (folder / f"{split}.scenes.jsonl{PARTIAL}").open("w", encoding="utf-8", newline="\n") as truth,
        ):
            for index in tqdm(range(count), desc=f"{plan.task} {split}", unit="scene", leave=False):
                scene = sample_scene(plan.seed, split, index, plan.image_size, plan.objects)
                truth.write(scene.to_json() + "\n")
                written = rows(plan.task, scene, plan.seed, training=split == "train")
                for row in written:
                    table.write("\t".join(row.fields) + "\n")
                summary.rows[split] += len(written)
                _measure(summary, written, tokenizer)
                if split == "train":
                    answers.update(row.target.strip() for row in written if row.target is not None)
                if index == 0 and split == "train":
                    summary.examples = [row.texts for row in written[:3]]
    if plan.task == "vqa":
        (folder / (CANDIDATES + PARTIAL)).write_text(candidates(answers, min_count=1), encoding="utf-8")
    return summary


def _measure(summary: Summary, written: list[Row], tokenizer: Tokenizer) -> None:
    for row in written:
        length = BOX_TOKENS if row.target is None else len(tokenizer.encode(row.target).ids) + 1
        summary.targets += 1
        summary.total_tokens += length
        summary.longest = max(summary.longest, length)

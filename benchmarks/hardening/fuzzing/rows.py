"""Rows of every task, through the data sets that training and generation read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from fuzzing import boxes, images
from fuzzing.case import Case, refusal
from fuzzing.texts import texts
from narvl.data.dataset import VisionLanguageDataset
from narvl.data.sample import Sample
from narvl.data.tsv import COLUMNS
from narvl.errors import DataError
from narvl.scenes.bpe import gpt2_files, train
from narvl.tasks.captioning import CaptioningConfig, CaptioningTask
from narvl.tasks.entailment import EntailmentConfig, EntailmentTask
from narvl.tasks.grounding import GroundingConfig, GroundingTask
from narvl.tasks.vqa import VQAConfig, VQATask

SIDE = 32
BINS = 64
#: Position tables of the published models.
POSITIONS = (1024, 1024)

_TASKS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "captioning": (CaptioningTask, CaptioningConfig, {}),
    "vqa": (VQATask, VQAConfig, {"add_objects": True}),
    "grounding": (GroundingTask, GroundingConfig, {"max_image_size": 64}),
    "entailment": (EntailmentTask, EntailmentConfig, {"add_caption": True}),
}
#: A value of each column that no row is refused for.
_SOUND = {"box": "1,2,30,40", "label": "neutral", "answers": "1.0|!+two", "image": images.columns_of(images.GOOD)}
_LABELS = ("entailment", "contradiction", "neutral", "yes", "MAYBE ", "", "unsure")


def write_bpe(folder: Path) -> None:
    """Write the scenes' BPE files, which are those of every data folder made here."""
    for name, data in gpt2_files(*train()).items():
        (folder / name).write_bytes(data)


def build(folder: Path) -> list[Case]:
    """Return a case for each task."""
    write_bpe(folder)
    return [_case(name, folder) for name in _TASKS]


def _case(name: str, folder: Path) -> Case:
    data = folder / name
    data.mkdir()
    task_class, config, more = _TASKS[name]
    sizes = {"patch_image_size": SIDE, "code_dict_size": 4, "num_bins": BINS}
    task = task_class(config(data=str(data), bpe_dir=str(folder), **sizes, **more))
    task.positions = POSITIONS
    return Case(name, st.tuples(_files(COLUMNS[name]), st.sampled_from(("train", "test"))), Reader(task, data).check)


@st.composite
def _files(draw: st.DrawFn, columns: tuple[str, ...]) -> bytes:
    """Draw a file of one or two rows."""
    data = b"".join(draw(st.lists(_rows(columns), min_size=1, max_size=2)))
    return draw(st.sampled_from((*[data] * 9, b"", data.rstrip(b"\n"), b"\xef\xbb\xbf" + data)))


@st.composite
def _rows(draw: st.DrawFn, columns: tuple[str, ...]) -> bytes:
    hostile = draw(st.sets(st.sampled_from(columns), max_size=2))
    fields = [draw(_column(name)) if name in hostile else _SOUND.get(name, "a red ring") for name in columns]
    place = draw(st.integers(0, len(fields) - 1))
    match draw(st.sampled_from((*["as they are"] * 8, "one less", "one more", "other order"))):
        case "one less":
            del fields[place]
        case "one more":
            fields.insert(place, draw(texts()))
        case "other order":
            fields.insert(0, fields.pop(place))
    text = "\t".join(fields)
    codec = draw(st.sampled_from((*["utf-8"] * 8, "latin-1", "utf-16")))
    data = text.encode(codec, "surrogatepass" if codec == "utf-8" else "replace")
    return data + draw(st.sampled_from((b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\x00\n", b"\n\n")))


def _column(name: str) -> st.SearchStrategy[str]:
    if name == "image":
        return images.columns()
    if name == "box":
        return boxes.columns()
    if name == "label":
        return st.one_of(st.sampled_from(_LABELS), st.sampled_from(_LABELS), texts())
    if name == "answers":
        shares = st.one_of(st.sampled_from(("1.0", "0.3", "0", "1e-9")), st.floats(0, 1).map(str), st.floats().map(str))
        entries = st.lists(st.builds("{}|!+{}".format, shares, texts()), max_size=3).map("&&".join)
        return st.one_of(entries, entries, texts())
    return texts()


@dataclass(frozen=True)
class Reader:
    """Reads files as a task's training and generation do.

    Attributes:
        task: the task.
        data: its data folder.
    """

    task: Any
    data: Path

    def check(self, given: tuple[bytes, str]) -> str:
        """Read every row twice: bad rows stop the one data set and are skipped by the other."""
        content, split = given
        path = self.data / f"{split}.tsv"
        path.write_bytes(content)
        try:
            strict, lenient = self._open(split, False), self._open(split, True)
        except DataError as error:
            return refusal(error, f"{path}: ")
        outcomes = [self._check_row(strict, lenient, row, path) for row in range(len(strict))]
        batch = lenient.collater([lenient[row] for row in range(len(strict))])
        assert len(batch.get("id", ())) == outcomes.count("sample")
        return outcomes[0]

    def _open(self, split: str, skip: bool) -> VisionLanguageDataset:
        self.task.cfg.skip_bad_rows = skip
        self.task.load_dataset(split)
        dataset: VisionLanguageDataset = self.task.datasets[split]
        return dataset

    def _check_row(self, strict: VisionLanguageDataset, lenient: VisionLanguageDataset, row: int, path: Path) -> str:
        skipped = lenient[row] is None
        try:
            sample = strict[row]
        except DataError as error:
            assert skipped, "an error in training, but not skipped"
            return refusal(error, f"{path}, row {row + 1}: ", "--skip-bad-rows").partition("row *: ")[2]
        assert sample is not None and not skipped
        self._check_sample(sample, strict, row)
        return "sample"

    def _check_sample(self, sample: Sample, dataset: VisionLanguageDataset, row: int) -> None:
        vocabulary = self.task.vocabulary
        dictionary = vocabulary.dictionary
        example = dataset.parse(dataset.rows[row])
        text = vocabulary.text_mask()
        text[dictionary.eos()] = False
        assert sample.index == row
        assert (int(sample.source[0]), int(sample.source[-1])) == (dictionary.bos(), dictionary.eos())
        assert int(sample.target[-1]) == dictionary.eos()
        prompt, target = sample.source[1:-1], sample.target[:-1]
        assert len(sample.source) <= POSITIONS[0] and len(sample.target) <= POSITIONS[1]
        assert bool(text[prompt].all()), "the prompt holds a symbol"
        assert vocabulary.decode(prompt) == self._shown(example.prompt)
        if isinstance(example.target, str):
            assert bool(text[target].all()), "the target holds a symbol"
            assert vocabulary.decode(target) == self._shown(example.target)
        else:
            bins = target - vocabulary.first_bin
            assert bins.shape == (4,) and bool(((bins >= 0) & (bins < BINS)).all()), "the target is no box"
        assert sample.image.shape == (3, SIDE, SIDE) and sample.image.dtype == torch.float32
        assert float(sample.image.min()) >= -1.0 and float(sample.image.max()) <= 1.0
        assert 0.0 <= sample.weight <= 1.0

    def _shown(self, text: str) -> str:
        """Return a text as it looks once encoded and decoded: control characters are blanks."""
        return "".join(" " if ord(mark) < 0x20 or 0x7F <= ord(mark) < 0xA0 else mark for mark in text).strip()

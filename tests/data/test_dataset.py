from __future__ import annotations

import logging
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from narvl.data import captioning
from narvl.data.boxes import BoxFrame
from narvl.data.dataset import VisionLanguageDataset, read_row_numbers
from narvl.data.sample import Example, Sample, SampleMaker, collate
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.data.vocabulary import Vocabulary
from narvl.errors import DataError, UsageError


@pytest.fixture(scope="module")
def vocabulary(scenes: Path) -> Vocabulary:
    return Vocabulary(scenes, code_dict_size=0, num_bins=0)


def open_dataset(path: Path, vocabulary: Vocabulary, **options: Any) -> VisionLanguageDataset:
    rows = TsvFile(path, COLUMNS["captioning"])
    parse = partial(captioning.example, labelled=True, max_words=20)
    return VisionLanguageDataset(rows, parse, SampleMaker(vocabulary, 32), 32, **options)


@pytest.fixture(scope="module")
def dataset(scenes: Path, vocabulary: Vocabulary) -> VisionLanguageDataset:
    return open_dataset(scenes / "valid.tsv", vocabulary)


@pytest.fixture(scope="module")
def task(scenes: Path, build: Any) -> Any:
    """The captioning task with its training and validation rows."""
    task, _, _ = build(scenes, "ofa_nano", "--patch-image-size", "32")
    for split in ("train", "valid"):
        task.load_dataset(split)
    return task


@pytest.fixture()
def damaged(scenes: Path, tmp_path: Path) -> Path:
    """Twelve rows, of which the 3rd lacks its image's end, the 5th its caption, the 8th a column."""
    lines = (scenes / "valid.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    rows[2][4] = rows[2][4][: len(rows[2][4]) // 2]
    rows[4][2] = ""
    del rows[7][3]
    path = tmp_path / "valid.tsv"
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    return path


class TestSample:
    def test_tokens(self, vocabulary: Vocabulary) -> None:
        example = Example(" a ring", " below a big disc", "", weight=0.4)
        sample = SampleMaker(vocabulary, 8)(5, example, Image.new("RGB", (9, 7)))
        assert sample.index == 5
        assert (int(sample.source[0]), int(sample.source[-1])) == (0, 2)
        assert vocabulary.decode(sample.source) == "a ring"
        assert int(sample.target[-1]) == 2 and 0 not in sample.target
        assert vocabulary.decode(sample.target) == "below a big disc"
        assert (sample.image.shape, sample.weight) == ((3, 8, 8), 0.4)

    def test_a_box_becomes_bins_of_the_original_image(self, scenes: Path) -> None:
        vocabulary = Vocabulary(scenes, code_dict_size=3, num_bins=101)
        maker = SampleMaker(vocabulary, 256, BoxFrame(256, 512, 101))
        sample = maker(0, Example("", (20.0, 0.0, 100.0, 40.0), ""), Image.new("RGB", (200, 80)))
        said = [vocabulary.dictionary[int(token)] for token in sample.target]
        assert said == ["<bin_5>", "<bin_0>", "<bin_25>", "<bin_25>", "</s>"]

    @pytest.mark.parametrize("box", [(-9, 0, 0, 9), (9, 0, 20, 7), (0, 7, 9, 8), (2, 2, 2, 5)])
    def test_a_box_beyond_the_image(self, scenes: Path, box: tuple[float, float, float, float]) -> None:
        maker = SampleMaker(Vocabulary(scenes, 0, 8), 16, BoxFrame(16, 16, 8))
        with pytest.raises(DataError, match="nothing of it lies in the image of 9 x 7 pixels"):
            maker(0, Example("", box, ""), Image.new("RGB", (9, 7)))

    def test_a_box_without_a_frame_is_a_mistake(self, vocabulary: Vocabulary) -> None:
        with pytest.raises(TypeError, match="no frame"):
            SampleMaker(vocabulary, 8)(0, Example("", (0.0, 0.0, 1.0, 1.0), ""), Image.new("RGB", (9, 7)))

    def test_row(self, dataset: VisionLanguageDataset, vocabulary: Vocabulary) -> None:
        sample = dataset[np.int64(3)]
        assert isinstance(sample, Sample)
        fields = dataset.rows[3]
        assert vocabulary.decode(sample.source) == captioning.PROMPT.strip()
        assert vocabulary.decode(sample.target) == captioning.references(fields)[0]
        assert (sample.image.shape, sample.image.dtype) == ((3, 32, 32), torch.float32)


class TestReferences:
    IMAGE = Image.new("RGB", (9, 7))

    def test_the_target_comes_first(self, vocabulary: Vocabulary) -> None:
        example = Example(" a ring", " a big disc", "", weight=0.4, others=((" a disc", 0.3),))
        sample = SampleMaker(vocabulary, 8, all_references=True)(0, example, self.IMAGE)
        (target, weight), (other, share) = sample.references
        assert (vocabulary.decode(target), weight) == ("a big disc", 0.4)
        assert (vocabulary.decode(other), int(other[-1]), share) == ("a disc", 2, 0.3)

    def test_the_target_alone_unless_all_are_asked_for(self, vocabulary: Vocabulary) -> None:
        sample = SampleMaker(vocabulary, 8)(0, Example("", " a disc", "", others=((" a ring", 1.0),)), self.IMAGE)
        assert sample.references == ()
        assert "references" not in collate([sample], vocabulary.dictionary)

    def test_tables_of_samples_with_different_numbers(self, vocabulary: Vocabulary) -> None:
        maker = SampleMaker(vocabulary, 8, all_references=True)
        samples = [
            maker(0, Example("", " a ring", "", others=((" a big ring", 0.5),)), self.IMAGE),
            maker(1, Example("", " a disc", ""), self.IMAGE),
        ]
        tables = collate(samples, vocabulary.dictionary)["references"]
        assert tables["lengths"].tolist() == [[3, 4], [3, 0]]
        assert tables["weights"].tolist() == [[1.0, 0.5], [1.0, 0.0]]
        said = [row[:length] for row, length in zip(tables["tokens"].flatten(0, 1), (3, 4, 3), strict=False)]
        assert [vocabulary.decode(tokens) for tokens in said] == ["a ring", "a big ring", "a disc"]


class TestCollate:
    @pytest.fixture()
    def batch(self, vocabulary: Vocabulary) -> dict[str, Any]:
        samples = [
            Sample(7, torch.tensor([0, 5, 6, 2]), torch.tensor([8, 2]), torch.full((3, 4, 4), 0.5), 1.0),
            Sample(3, torch.tensor([0, 5, 2]), torch.tensor([9, 9, 8, 2]), torch.full((3, 4, 4), -0.5), 0.3),
        ]
        return collate(samples, vocabulary.dictionary)

    def test_sizes(self, batch: dict[str, Any]) -> None:
        assert batch["id"].tolist() == [7, 3]
        assert (batch["nsentences"], batch["ntokens"]) == (2, 6)
        assert batch["target_lengths"].tolist() == [2, 4]
        assert batch["weight"].tolist() == pytest.approx([1.0, 0.3])
        assert batch["net_input"].keys() == {
            "src_tokens",
            "src_lengths",
            "patch_images",
            "patch_masks",
            "prev_output_tokens",
        }

    def test_rows_are_padded_on_the_right(self, batch: dict[str, Any]) -> None:
        assert batch["target"].tolist() == [[8, 2, 1, 1], [9, 9, 8, 2]]
        assert batch["net_input"]["src_tokens"].tolist() == [[0, 5, 6, 2], [0, 5, 2, 1]]
        assert batch["net_input"]["src_lengths"].tolist() == [4, 3]

    def test_the_decoder_s_input_is_the_target_behind_its_begin(self, batch: dict[str, Any]) -> None:
        assert batch["net_input"]["prev_output_tokens"].tolist() == [[0, 8, 1, 1], [0, 9, 9, 8]]

    def test_images(self, batch: dict[str, Any]) -> None:
        assert batch["net_input"]["patch_images"].mean(dim=(1, 2, 3)).tolist() == [0.5, -0.5]
        assert batch["net_input"]["patch_masks"].tolist() == [True, True]

    def test_no_samples(self, dataset: VisionLanguageDataset) -> None:
        assert dataset.collater([]) == {}
        assert dataset.collater([None, None]) == {}

    def test_skipped_rows_leave_no_trace(self, dataset: VisionLanguageDataset) -> None:
        batch = dataset.collater([dataset[1], None, dataset[4]])
        assert batch["id"].tolist() == [1, 4]


class TestOrder:
    def test_any_order_of_access(self, dataset: VisionLanguageDataset) -> None:
        def content(index: int) -> tuple[int, list[int], float]:
            sample = dataset[index]
            assert sample is not None
            return sample.index, sample.target.tolist(), float(sample.image.sum())

        expected = [content(index) for index in range(len(dataset))]
        for index in random.Random(0).choices(range(len(dataset)), k=30):
            assert content(index) == expected[index]
        assert [entry[0] for entry in expected] == list(range(12))

    def test_the_file_s_order_without_shuffling(self, dataset: VisionLanguageDataset) -> None:
        assert dataset.ordered_indices().tolist() == list(range(12))

    def test_each_epoch_has_batches_of_its_own(self, task: Any) -> None:
        """Through fairseq's iterator, which makes an epoch's batches by the seed and the epoch alone."""

        def epoch(split: str, number: int, seed: int = 1) -> list[list[int]]:
            iterator = task.get_batch_iterator(task.dataset(split), max_sentences=8, seed=seed, epoch=number)
            return [list(map(int, batch)) for batch in iterator.frozen_batches]

        first = epoch("train", 1)
        assert epoch("train", 1) == first
        assert epoch("train", 2) != first and epoch("train", 1, seed=2) != first
        assert {frozenset(batch) for batch in epoch("train", 2)} != {frozenset(batch) for batch in first}
        for batches in (first, epoch("train", 2)):
            assert sorted(index for batch in batches for index in batch) == list(range(200))
        assert epoch("valid", 1) == epoch("valid", 2) == [list(range(8)), [8, 9, 10, 11]]


class TestBatches:
    @settings(max_examples=80, deadline=None)
    @given(
        rows=st.integers(1, 40),
        sentences=st.one_of(st.none(), st.integers(1, 17)),
        tokens=st.one_of(st.none(), st.integers(4, 60)),
        multiple=st.integers(1, 8),
    )
    def test_every_row_in_gives_one_row_out(
        self, dataset: VisionLanguageDataset, rows: int, sentences: int | None, tokens: int | None, multiple: int
    ) -> None:
        """fairseq alone drops a last batch whose size is no multiple of --required-batch-size-multiple."""
        indices = np.random.default_rng(rows).permutation(rows)
        batches = dataset.batch_by_size(indices, tokens, sentences, multiple)
        assert [int(index) for batch in batches for index in batch] == indices.tolist()
        largest = max(map(len, batches))
        assert sentences is None or largest <= sentences
        assert tokens is None or largest <= tokens // 4  # a row is 2 x 2 patches

    @pytest.mark.parametrize("multiple", range(1, 9))
    @pytest.mark.parametrize("size", [1, 3, 5, 8, 50])
    def test_through_fairseq_s_iterator(self, task: Any, size: int, multiple: int) -> None:
        iterator = task.get_batch_iterator(
            task.dataset("valid"),
            max_sentences=size,
            required_batch_size_multiple=multiple,
            disable_iterator_cache=True,
        ).next_epoch_itr(shuffle=False)
        assert [int(index) for batch in iterator for index in batch["id"]] == list(range(12))


class TestBadRows:
    @pytest.mark.parametrize(
        ("index", "problem"),
        [(2, "the image cannot be decoded"), (4, "the caption (column 3) is empty"), (7, "4 columns, expected 5")],
    )
    def test_the_error_names_file_and_row(
        self, damaged: Path, vocabulary: Vocabulary, index: int, problem: str
    ) -> None:
        dataset = open_dataset(damaged, vocabulary)
        with pytest.raises(DataError) as error:
            dataset[index]
        message = str(error.value)
        assert message.startswith(f"{damaged}, row {index + 1}: {problem}")
        assert message.count(str(damaged)) == 1
        assert message.endswith("(--skip-bad-rows leaves such rows out)")

    def test_skipped_rows_are_logged_and_counted_once(
        self, damaged: Path, vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = open_dataset(damaged, vocabulary, skip_bad_rows=True)
        for _ in range(2):
            samples = [dataset[index] for index in range(12)]
            assert [index for index, sample in enumerate(samples) if sample is None] == [2, 4, 7]
        messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(messages) == 3
        assert messages[-1].startswith(f"skipped (3 of 12 rows so far): {damaged}, row 8: 4 columns, expected 5")
        batch = dataset.collater(samples)
        assert batch["id"].tolist() == [0, 1, 3, 5, 6, 8, 9, 10, 11]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_counted_across_workers(
        self, damaged: Path, vocabulary: Vocabulary, workers: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = open_dataset(damaged, vocabulary, skip_bad_rows=True)
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_size=4,
            collate_fn=dataset.collater,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        ids: list[Tensor] = [batch["id"] for batch in loader]
        assert torch.cat(ids).tolist() == [0, 1, 3, 5, 6, 8, 9, 10, 11]
        with caplog.at_level(logging.WARNING):
            dataset[2]
        assert not caplog.records or workers == 0, "already counted by a worker"

    def test_a_usable_batch_comes_first(self, damaged: Path, vocabulary: Vocabulary) -> None:
        """fairseq's trainer takes the first batch as a stand-in for empty ones: it must not be empty itself."""
        dataset = open_dataset(damaged, vocabulary, skip_bad_rows=True)
        batches = dataset.batch_by_size(np.array([2, 4, 0, 7, 1, 3]), max_sentences=2)
        assert [batch.tolist() for batch in batches] == [[0, 7], [2, 4], [1, 3]]
        with pytest.raises(DataError, match=r"none of its 12 rows can be used"):
            dataset.batch_by_size(np.array([2, 4, 7]), max_sentences=2)


class TestPositions:
    """What is longer than the model's tables is a bad row, before it is an error inside of the model."""

    @pytest.mark.parametrize(
        ("positions", "problem"),
        [((3, 40), "the prompt has [0-9]+ tokens; .* end at 3"), ((40, 3), "the target has .* tokens; .* end at 3")],
    )
    def test_too_long(self, scenes: Path, vocabulary: Vocabulary, positions: tuple[int, int], problem: str) -> None:
        dataset = open_dataset(scenes / "valid.tsv", vocabulary, positions=positions)
        with pytest.raises(DataError, match=rf"valid\.tsv, row 1: {problem}"):
            dataset[0]
        skipping = open_dataset(scenes / "valid.tsv", vocabulary, positions=positions, skip_bad_rows=True)
        assert skipping[0] is None

    def test_the_built_model_s(self, scenes: Path, build: Any) -> None:
        flags = ("--patch-image-size", "32", "--max-source-positions", "3", "--max-target-positions", "30")
        task, _, _ = build(scenes, "narvl_nano", *flags)
        task.load_dataset("valid")
        with pytest.raises(DataError, match="the prompt has [0-9]+ tokens; .* end at 3"):
            task.dataset("valid")[0]


class TestOnlyRows:
    def test_only_these_are_read(self, scenes: Path, vocabulary: Vocabulary, tmp_path: Path) -> None:
        wanted = tmp_path / "rows.txt"
        wanted.write_text("7\n2\n")
        rows = TsvFile(scenes / "valid.tsv", COLUMNS["captioning"])
        dataset = open_dataset(scenes / "valid.tsv", vocabulary, only=read_row_numbers(wanted, rows))
        assert dataset.ordered_indices().tolist() == [7, 2]
        assert len(dataset) == 12

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            *(("12", "no row 12"), ("-1", "no row -1"), ("two", "invalid literal"), ("9" * 30, "")),
            *(("", "is empty"), (" \n", "is empty"), ("3\n5\n3\n", "row 3 stands in it more than once")),
        ],
    )
    def test_wrong_lists(self, text: str, message: str, scenes: Path, tmp_path: Path) -> None:
        wanted = tmp_path / "rows.txt"
        wanted.write_text(text)
        with pytest.raises(UsageError, match=f"--only-rows .*{message}"):
            read_row_numbers(wanted, TsvFile(scenes / "valid.tsv", COLUMNS["captioning"]))

"""The data set of every task: rows of a TSV file as samples, in an order, in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset
from torch import Tensor

from narvl.data.image import decode_image
from narvl.data.sample import Example, Sample, SampleMaker, collate
from narvl.data.tsv import TsvFile
from narvl.errors import DataError, UsageError
from narvl.modules.backbone import STRIDE

logger = logging.getLogger(__name__)


class VisionLanguageDataset(FairseqDataset):
    """Rows of a TSV file as samples.

    Args:
        rows: the file.
        parse: the task's part: a row's fields to an ``Example``; raises DataError without file and row.
        make_sample: examples to samples.
        image_size: side of the square the image is resized to, in pixels.
        shuffle: whether epochs see the rows in a new random order.
        only: the rows to use (0-based); None for all.
        skip_bad_rows: log and leave out rows that cannot be used, instead of stopping.
        positions: tokens that the model's position tables hold, of a prompt and of a target; None where no model is
            built yet.
    """

    def __init__(
        self,
        rows: TsvFile,
        parse: Callable[[list[str]], Example],
        make_sample: SampleMaker,
        image_size: int,
        shuffle: bool = False,
        only: npt.NDArray[np.int64] | None = None,
        skip_bad_rows: bool = False,
        positions: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.parse = parse
        self.make_sample = make_sample
        self.shuffle = shuffle
        self.only = only
        self.skip_bad_rows = skip_bad_rows
        self.positions = positions
        # Which rows were left out, in memory that data-loading workers share: each is logged and counted once.
        self._skipped = torch.zeros(len(rows), dtype=torch.bool).share_memory_() if skip_bad_rows else None
        self._patches = (-(-image_size // STRIDE)) ** 2

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample | None:
        """Return row ``index`` as a sample; None where it is skipped.

        Raises:
            DataError: the row cannot be used; names file and row.
        """
        index = int(index)  # fairseq's samplers give numpy integers
        try:
            return self._sample(index)
        except DataError as error:
            message = self.rows.locate(index, error)
            if self._skipped is None:
                raise DataError(f"{message} (--skip-bad-rows leaves such rows out)") from error
            if not self._skipped[index]:
                self._skipped[index] = True
                logger.warning("skipped (%d of %d rows so far): %s", int(self._skipped.sum()), len(self), message)
            return None

    def _sample(self, index: int) -> Sample:
        example = self.parse(self.rows[index])
        sample = self.make_sample(index, example, decode_image(example.image))
        if self.positions is not None:
            _check_length("prompt", sample.source, self.positions[0])
            _check_length("target", sample.target, self.positions[1])
        return sample

    def collater(self, samples: Sequence[Sample | None]) -> dict[str, Any]:
        """Make a batch (``narvl.data.sample.collate``) that knows its ``split``; empty when every row was skipped."""
        batch = collate([sample for sample in samples if sample is not None], self.make_sample.vocabulary.dictionary)
        return {**batch, "split": self.rows.path.stem} if batch else {}

    def ordered_indices(self) -> npt.NDArray[np.int64]:
        """Return the rows' order: the file's, or a new random one each epoch (fairseq seeds numpy with the epoch)."""
        indices = np.arange(len(self)) if self.only is None else self.only
        return np.random.permutation(indices) if self.shuffle else indices

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Tell fairseq to make an epoch's batches anew when rows are shuffled.

        A reused iterator would repeat the first epoch's batches, and others after a restart.
        """
        return not self.shuffle

    def num_tokens(self, index: int) -> int:
        """Return a row's share of ``--max-tokens``: its patches, since text is short and unknown before reading."""
        return self._patches

    def num_tokens_vec(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return ``num_tokens`` of many rows."""
        return np.full(len(indices), self._patches, dtype=np.int64)

    def size(self, index: int) -> int:
        """Return a row's size as fairseq filters it: the same for every row."""
        return self._patches

    def filter_indices_by_size(
        self, indices: npt.NDArray[np.int64], max_sizes: Any
    ) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Keep every row: images have one size, and texts are cut to the task's number of words."""
        return indices, []

    def batch_by_size(
        self,
        indices: npt.NDArray[np.int64],
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[npt.NDArray[np.int64]]:
        """Batch the rows as fairseq does, and append the rows that it drops.

        fairseq leaves out a last batch whose size is no multiple of ``--required-batch-size-multiple``.
        """
        batches = list(super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple))
        used = sum(len(batch) for batch in batches)
        if used < len(indices):
            batches.append(indices[used:])
        return self._usable_first(batches) if self.skip_bad_rows else batches

    def _usable_first(self, batches: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.int64]]:
        """Move the first batch that has a usable row to the front.

        fairseq's trainer puts the front batch, without its gradient, in the place of one whose rows were all skipped.
        """
        for place, batch in enumerate(batches):
            if any(self[index] is not None for index in batch):
                return [batch, *batches[:place], *batches[place + 1 :]]
        raise DataError(
            f"{self.rows.path}: none of its {len(self)} rows can be used; the log tells what is wrong with each."
        )


def _check_length(name: str, tokens: Tensor, limit: int) -> None:
    if len(tokens) > limit:
        raise DataError(
            f"the {name} has {len(tokens):,} tokens; the model's position tables end at {limit:,}. Shorten it."
        )


def read_row_numbers(path: Path, rows: TsvFile) -> npt.NDArray[np.int64]:
    """Read a list of rows (``--only-rows``): 0-based numbers, one a line.

    Raises:
        UsageError: the file cannot be read, holds no row or something else, or names a row twice or one that does not
            exist.
    """
    try:
        numbers = np.array(path.read_text(encoding="ascii").split(), dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"--only-rows {path}: {error}. Give a file of row numbers from 0, one a line.") from error
    outside = numbers[(numbers < 0) | (numbers >= len(rows))]
    if len(outside):
        raise UsageError(f"--only-rows {path}: no row {outside[0]} in {rows.path}, which has {len(rows)} (from 0).")
    if not len(numbers):
        raise UsageError(f"--only-rows {path}: is empty. Give a file of row numbers from 0, or leave the flag out.")
    distinct, counts = np.unique(numbers, return_counts=True)
    if len(distinct) < len(numbers):
        raise UsageError(f"--only-rows {path}: row {distinct[counts > 1][0]} stands in it more than once. Keep one.")
    return numbers

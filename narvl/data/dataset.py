"""The data set of every task: a TSV row becomes a sample, samples become a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset, data_utils
from torch import Tensor

from narvl.data.image import decode_image, patch_transform
from narvl.data.tsv import TsvFile
from narvl.data.vocabulary import Vocabulary
from narvl.errors import DataError
from narvl.modules.backbone import STRIDE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """What a task makes of a row.

    Attributes:
        prompt: what the model reads beside the image; begins with a blank.
        target: what it should say; begins with a blank.
        image: the image column, base64.
    """

    prompt: str
    target: str
    image: str


@dataclass(frozen=True)
class Sample:
    """A row, ready for a batch: index, prompt tokens (S,), target tokens (L,) with ``</s>``, image (3, size, size)."""

    index: int
    source: Tensor
    target: Tensor
    image: Tensor


class VisionLanguageDataset(FairseqDataset):
    """Rows of a TSV file as samples.

    Args:
        rows: the file.
        parse: the task's part: a row's fields to an ``Example``; raises DataError without file and row.
        vocabulary: text to tokens.
        image_size: side of the square the image is resized to, in pixels.
        shuffle: whether epochs see the rows in a new random order.
        skip_bad_rows: log and leave out rows that cannot be used, instead of stopping.
    """

    def __init__(
        self,
        rows: TsvFile,
        parse: Callable[[list[str]], Example],
        vocabulary: Vocabulary,
        image_size: int,
        shuffle: bool = False,
        skip_bad_rows: bool = False,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.parse = parse
        self.vocabulary = vocabulary
        self.transform = patch_transform(image_size)
        self.shuffle = shuffle
        self.skip_bad_rows = skip_bad_rows
        self.skipped = 0
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
            message = str(error)
            if str(self.rows.path) not in message:
                message = f"{self.rows.where(index)}: {message}"
            if not self.skip_bad_rows:
                raise DataError(f"{message} (--skip-bad-rows leaves such rows out)") from error
            self.skipped += 1
            logger.warning("skipped, %d so far in this process: %s", self.skipped, message)
            return None

    def _sample(self, index: int) -> Sample:
        example = self.parse(self.rows[index])
        dictionary = self.vocabulary.dictionary
        bos, eos = torch.tensor([dictionary.bos()]), torch.tensor([dictionary.eos()])
        return Sample(
            index=index,
            source=torch.cat([bos, self.vocabulary.encode(example.prompt), eos]),
            target=torch.cat([self.vocabulary.encode(example.target), eos]),
            image=self.transform(decode_image(example.image)),
        )

    def collater(self, samples: Sequence[Sample | None]) -> dict[str, Any]:
        """Make a batch; empty when every row was skipped.

        Returns:
            ``id`` (B,), ``nsentences``, ``ntokens``, ``target`` (B, L) right-padded, ``target_lengths`` (B,), and
            ``net_input``: ``src_tokens`` (B, S), ``src_lengths`` (B,), ``patch_images`` (B, 3, size, size),
            ``patch_masks`` (B,), ``prev_output_tokens`` (B, L).
        """
        kept = [sample for sample in samples if sample is not None]
        if not kept:
            return {}
        pad, bos, eos = (getattr(self.vocabulary.dictionary, name)() for name in ("pad", "bos", "eos"))

        def merge(rows: list[Tensor]) -> Tensor:
            return data_utils.collate_tokens(rows, pad, eos, left_pad=False)

        begin = torch.tensor([bos])
        target_lengths = torch.tensor([len(sample.target) for sample in kept])
        return {
            "id": torch.tensor([sample.index for sample in kept]),
            "nsentences": len(kept),
            "ntokens": int(target_lengths.sum()),
            "target": merge([sample.target for sample in kept]),
            "target_lengths": target_lengths,
            "net_input": {
                "src_tokens": merge([sample.source for sample in kept]),
                "src_lengths": torch.tensor([len(sample.source) for sample in kept]),
                "patch_images": torch.stack([sample.image for sample in kept]),
                "patch_masks": torch.ones(len(kept), dtype=torch.bool),
                "prev_output_tokens": merge([torch.cat([begin, sample.target[:-1]]) for sample in kept]),
            },
        }

    def ordered_indices(self) -> npt.NDArray[np.int64]:
        """Return the rows' order: the file's, or a new random one each epoch (fairseq seeds numpy with the epoch)."""
        return np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))

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
        return batches

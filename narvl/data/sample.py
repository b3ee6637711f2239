"""From an example to a sample, and from samples to the batch that models and criterions read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from narvl.data.vocabulary import Vocabulary


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


def make_sample(index: int, example: Example, image: Tensor, vocabulary: Vocabulary) -> Sample:
    """Tokenise an example.

    Args:
        index: its row (0-based); what ``fairseq-generate`` prints as its id.
        example: prompt and target.
        image: (3, size, size).
        vocabulary: text to tokens.
    """
    dictionary = vocabulary.dictionary
    bos, eos = torch.tensor([dictionary.bos()]), torch.tensor([dictionary.eos()])
    return Sample(
        index=index,
        source=torch.cat([bos, vocabulary.encode(example.prompt), eos]),
        target=torch.cat([vocabulary.encode(example.target), eos]),
        image=image,
    )


def collate(samples: Sequence[Sample], dictionary: Dictionary) -> dict[str, Any]:
    """Make a batch.

    Returns:
        ``id`` (B,), ``nsentences``, ``ntokens``, ``target`` (B, L) right-padded, ``target_lengths`` (B,), and
        ``net_input``: ``src_tokens`` (B, S), ``src_lengths`` (B,), ``patch_images`` (B, 3, size, size),
        ``patch_masks`` (B,), ``prev_output_tokens`` (B, L). Empty when there are no samples.
    """
    if not samples:
        return {}

    def merge(rows: list[Tensor]) -> Tensor:
        return data_utils.collate_tokens(rows, dictionary.pad(), left_pad=False)

    begin = torch.tensor([dictionary.bos()])
    target_lengths = torch.tensor([len(sample.target) for sample in samples])
    return {
        "id": torch.tensor([sample.index for sample in samples]),
        "nsentences": len(samples),
        "ntokens": int(target_lengths.sum()),
        "target": merge([sample.target for sample in samples]),
        "target_lengths": target_lengths,
        "net_input": {
            "src_tokens": merge([sample.source for sample in samples]),
            "src_lengths": torch.tensor([len(sample.source) for sample in samples]),
            "patch_images": torch.stack([sample.image for sample in samples]),
            "patch_masks": torch.ones(len(samples), dtype=torch.bool),
            "prev_output_tokens": merge([torch.cat([begin, sample.target[:-1]]) for sample in samples]),
        },
    }

"""From an example to a sample, and from samples to the batch that models and criterions read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from PIL.Image import Image
from torch import Tensor

from narvl.data.boxes import Box, BoxFrame
from narvl.data.image import patch_transform
from narvl.data.vocabulary import Vocabulary
from narvl.errors import DataError


@dataclass(frozen=True)
class Example:
    """What a task makes of a row.

    Attributes:
        prompt: what the model reads beside the image; begins with a blank.
        target: what it should say: text that begins with a blank, or a box in pixels of the original image; empty
            where nobody knows.
        image: the image column, base64.
        weight: what the sample's loss is multiplied by, 0 to 1.
        others: further right outputs beside the target, each with a weight; every text begins with a blank.
    """

    prompt: str
    target: str | Box
    image: str
    weight: float = 1.0
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Sample:
    """A row, ready for a batch.

    Attributes:
        index: its row (0-based); what ``fairseq-generate`` prints as its id.
        source: prompt tokens (S,), ``<s>`` and ``</s>`` included.
        target: target tokens (L,), ``</s>`` included.
        image: (3, size, size).
        weight: what the sample's loss is multiplied by.
        references: all right outputs, the target first, each with its weight; empty where the target alone counts.
    """

    index: int
    source: Tensor
    target: Tensor
    image: Tensor
    weight: float
    references: tuple[tuple[Tensor, float], ...] = ()


class SampleMaker:
    """Turns examples into samples.

    Args:
        vocabulary: text to tokens.
        image_size: side of the square that images are resized to, in pixels.
        frame: boxes to location bins; None where no target is a box.
        all_references: give samples all their right outputs, not the target alone.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        image_size: int,
        frame: BoxFrame | None = None,
        all_references: bool = False,
    ) -> None:
        self.vocabulary = vocabulary
        self.transform = patch_transform(image_size)
        self.frame = frame
        self.all_references = all_references

    def __call__(self, index: int, example: Example, image: Image) -> Sample:
        """Tokenise an example and transform its image (RGB, of any size).

        Raises:
            DataError: a text cannot be encoded (``Vocabulary.encode``), or the box lies outside the image.
        """
        dictionary = self.vocabulary.dictionary
        bos, eos = torch.tensor([dictionary.bos()]), torch.tensor([dictionary.eos()])
        target = torch.cat([self._target(example.target, image), eos])
        others = [(torch.cat([self.vocabulary.encode(text), eos]), weight) for text, weight in example.others]
        return Sample(
            index=index,
            source=torch.cat([bos, self.vocabulary.encode(example.prompt), eos]),
            target=target,
            image=self.transform(image),
            weight=example.weight,
            references=((target, example.weight), *others) if self.all_references else (),
        )

    def _target(self, target: str | Box, image: Image) -> Tensor:
        if isinstance(target, str):
            return self.vocabulary.encode(target)
        if self.frame is None:
            raise TypeError("a box is the target, but there is no frame to put it in")
        left, top, right, bottom = target
        if max(left, 0) >= min(right, image.width) or max(top, 0) >= min(bottom, image.height):
            raise DataError(
                f"the box is {left:g},{top:g},{right:g},{bottom:g}: nothing of it lies in the image of {image.width} x "
                f"{image.height} pixels. Give it in pixels of this image."
            )
        return self.vocabulary.encode_bins(self.frame.to_bins(target, image.width, image.height))


def collate(samples: Sequence[Sample], dictionary: Dictionary) -> dict[str, Any]:
    """Make a batch.

    Returns:
        ``id`` (B,), ``nsentences``, ``ntokens``, ``target`` (B, L) right-padded, ``target_lengths`` (B,),
        ``weight`` (B,), and ``net_input``: ``src_tokens`` (B, S), ``src_lengths`` (B,), ``patch_images``
        (B, 3, size, size), ``patch_masks`` (B,), ``prev_output_tokens`` (B, L). Where samples have references,
        ``references``: ``tokens`` (B, K, L'), ``lengths`` (B, K), 0 where a sample has fewer than K, and ``weights``
        (B, K). Empty when there are no samples.
    """
    if not samples:
        return {}

    def merge(rows: list[Tensor]) -> Tensor:
        return data_utils.collate_tokens(rows, dictionary.pad(), left_pad=False)

    begin = torch.tensor([dictionary.bos()])
    target_lengths = torch.tensor([len(sample.target) for sample in samples])
    references = [sample.references for sample in samples]
    return {
        **({"references": _collate_references(references, dictionary)} if all(references) else {}),
        "id": torch.tensor([sample.index for sample in samples]),
        "nsentences": len(samples),
        "ntokens": int(target_lengths.sum()),
        "target": merge([sample.target for sample in samples]),
        "target_lengths": target_lengths,
        "weight": torch.tensor([sample.weight for sample in samples]),
        "net_input": {
            "src_tokens": merge([sample.source for sample in samples]),
            "src_lengths": torch.tensor([len(sample.source) for sample in samples]),
            "patch_images": torch.stack([sample.image for sample in samples]),
            "patch_masks": torch.ones(len(samples), dtype=torch.bool),
            "prev_output_tokens": merge([torch.cat([begin, sample.target[:-1]]) for sample in samples]),
        },
    }


def _collate_references(
    samples: Sequence[tuple[tuple[Tensor, float], ...]], dictionary: Dictionary
) -> dict[str, Tensor]:
    most = max(map(len, samples))
    nothing = (torch.empty(0, dtype=torch.long), 0.0)
    places = [place for sample in samples for place in (*sample, *[nothing] * (most - len(sample)))]
    tokens = data_utils.collate_tokens([tokens for tokens, _ in places], dictionary.pad(), left_pad=False)
    return {
        "tokens": tokens.view(len(samples), most, -1),
        "lengths": torch.tensor([len(tokens) for tokens, _ in places]).view(-1, most),
        "weights": torch.tensor([weight for _, weight in places]).view(-1, most),
    }

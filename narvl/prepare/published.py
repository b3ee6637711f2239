"""How large each data set is by its publishers, to stand beside what a conversion has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The size of one split.

    Attributes:
        rows: captions, questions, expressions or pairs; None where nobody publishes it.
        images: images that have at least one of them; None where nobody publishes it.
    """

    rows: int | None = None
    images: int | None = None


@dataclass(frozen=True)
class Published:
    """The size of a data set's splits.

    Attributes:
        source: where the figures come from.
        splits: by the name that the split has here.
    """

    source: str
    splits: Mapping[str, Size]


COCO = Published(
    "Karpathy's split of COCO (Karpathy and Fei-Fei 2015): 113,287 images for training with restval, 5,000 for "
    "validation, 5,000 for test; training has one row a caption (566,747), the others one row an image",
    {"train": Size(566_747, 113_287), "valid": Size(5_000, 5_000), "test": Size(5_000, 5_000)},
)

VQA = Published(
    "VQA v2.0 (Goyal et al. 2017; visualqa.org/download.html); the questions of test-dev are among those of test",
    {
        "train": Size(443_757, 82_783),
        "valid": Size(214_354, 40_504),
        "test": Size(447_793, 81_434),
        "test-dev": Size(107_394),
    },
)

GQA = Published(
    "GQA 1.2, balanced questions (Hudson and Manning 2019; the data set's page)",
    {
        "train": Size(943_000, 72_140),
        "valid": Size(132_062, 10_234),
        "testdev": Size(12_578, 398),
        "test": Size(95_336, 2_987),
    },
)

_REFCOCO_SOURCE = (
    "expressions as the papers count them (Yu et al. 2016; Nagaraja et al. 2016 for the umd split of RefCOCOg)"
)
REFCOCO: Mapping[str, Published] = {
    "refcoco": Published(
        _REFCOCO_SOURCE,
        {
            "train": Size(120_624, 16_994),
            "valid": Size(10_834, 1_500),
            "testA": Size(5_657, 750),
            "testB": Size(5_095, 750),
        },
    ),
    "refcoco+": Published(
        _REFCOCO_SOURCE,
        {
            "train": Size(120_191, 16_992),
            "valid": Size(10_758, 1_500),
            "testA": Size(5_726, 750),
            "testB": Size(4_889, 750),
        },
    ),
    "refcocog": Published(
        _REFCOCO_SOURCE,
        {"train": Size(80_512, 21_899), "valid": Size(4_896, 1_300), "test": Size(9_602, 2_600)},
    ),
}

SNLI_VE = Published(
    "SNLI-VE (Xie et al. 2019; the data set's repository)",
    {"train": Size(529_527, 29_783), "valid": Size(17_858, 1_000), "test": Size(17_901, 1_000)},
)

"""What the losses of the parallel model are told alike.

No postponed annotations here: fairseq reads the fields' types at run time.
"""

from dataclasses import dataclass, field
from typing import List  # noqa: UP035  (fairseq's parser knows it alone)

from fairseq.dataclass import FairseqDataclass


@dataclass
class ParallelConfig(FairseqDataclass):
    """Configuration of a loss of the parallel model."""

    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "share of the loss that pulls trained queries towards the uniform distribution (paper: 0.1)"},
    )
    intermediate_layers: List[int] = field(
        default_factory=list,
        metadata={
            "help": "decoder layers below the last, counted from 1, e.g. 2,4, that learn to say the target as well"
            " (beyond the paper; decoding does not change)"
        },
    )
    intermediate_weight: float = field(
        default=1 / 3,
        metadata={"help": "share of the loss that is the mean over --intermediate-layers; a third is half the rest's"},
    )

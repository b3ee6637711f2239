"""Task ``grounding``: an image and a referring expression in, a box out (RefCOCO, RefCOCO+, RefCOCOg)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from torch import Tensor

from narvl.data import grounding
from narvl.data.boxes import BoxFrame, format_fractions, parse_fractions, to_fractions
from narvl.data.image import upright_size
from narvl.data.sample import Example
from narvl.evaluation.grounding import iou
from narvl.tasks._base import VisionLanguageConfig, VisionLanguageTask
from narvl.tasks._options import PromptConfig

_BOX = re.compile(r"<bin_(\d+)> <bin_(\d+)> <bin_(\d+)> <bin_(\d+)>")
_BOX_TOKENS = 4


@dataclass
class GroundingConfig(PromptConfig, VisionLanguageConfig):
    """Configuration of ``grounding``."""

    max_image_size: int = field(
        default=512, metadata={"help": "side that the location bins span, in pixels; at least --patch-image-size"}
    )
    box_decoding: ChoiceEnum(["valid", "greedy"]) = field(  # type: ignore[valid-type]
        default="valid",
        metadata={
            "help": "parallel models of --alignment position: the most probable box that has an area, or each query's"
            " best bin, whatever comes of it"
        },
    )


class BoxDecoder:
    """Turns a line of location bins into the box as fractions of the image's sides; other lines stay as they are."""

    def __init__(self, frame: BoxFrame) -> None:
        self.frame = frame

    def decode(self, line: str) -> str:
        """Decode four bins, separated by blanks; anything else is no box and is shown as it is."""
        match = _BOX.fullmatch(line.strip())
        if match is None:
            return line
        return format_fractions(self.frame.to_fractions([int(number) for number in match.groups()]))


@register_task("grounding", dataclass=GroundingConfig)
class GroundingTask(VisionLanguageTask):
    """Validation logs Acc@0.5, in percent."""

    columns = "grounding"
    metric = "acc_at_0.5"
    texts = {"text": True}
    fixed_decoding = {"min_len": _BOX_TOKENS, "max_len_a": 0, "max_len_b": _BOX_TOKENS}

    frame: BoxFrame

    def build_frame(self) -> BoxFrame:
        """Return how boxes become location bins."""
        return BoxFrame(self.cfg.patch_image_size, self.cfg.max_image_size, self.cfg.num_bins)

    def boxes(self) -> tuple[int, int] | None:
        """Return the first location bin and their number, unless each query is to say its best one."""
        valid = str(self.cfg.box_decoding) == "valid"
        return (self.vocabulary.first_bin, self.vocabulary.num_bins) if valid else None

    def parse(self, fields: list[str], labelled: bool) -> Example:
        """Turn a row into an example (``narvl.data.grounding``)."""
        return grounding.example(fields, labelled, self.cfg.max_src_words)

    def allowed(self) -> Tensor:
        """Return which symbols a box may be said by, bool (V,)."""
        return self.vocabulary.bin_mask()

    def build_bpe(self, args: Any) -> BoxDecoder:
        """Return what turns location bins into a box (fairseq's hook)."""
        return BoxDecoder(self.frame)

    def prompt(self, texts: Mapping[str, str]) -> str:
        """Write the prompt for an expression."""
        return grounding.prompt(texts["text"], self.cfg.max_src_words)

    def score(self, split: str, indices: Sequence[int], outputs: Sequence[str]) -> float:
        """Return how many of the boxes for some rows of a split have an IoU of at least 0.5, times 100."""
        return 100.0 * sum(
            self._iou(self.datasets[split].rows[index], text) >= 0.5
            for index, text in zip(indices, outputs, strict=True)
        )

    def _iou(self, fields: list[str], text: str) -> float:
        said, truth = parse_fractions(text), grounding.box(fields)
        if said is None or truth is None:
            return 0.0
        # Stretching an axis changes no IoU, so that fractions serve as well as pixels.
        return iou(said, to_fractions(truth, *upright_size(fields[4])))

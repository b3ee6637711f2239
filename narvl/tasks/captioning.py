"""Task ``captioning``: an image in, a caption out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fairseq.tasks import register_task

from narvl.data import captioning
from narvl.data.sample import Example
from narvl.data.text import clean_caption
from narvl.errors import DataError
from narvl.evaluation.caption import CorpusCider
from narvl.tasks._base import VisionLanguageConfig, VisionLanguageTask


@dataclass
class CaptioningConfig(VisionLanguageConfig):
    """Configuration of ``captioning``."""


@register_task("captioning", dataclass=CaptioningConfig)
class CaptioningTask(VisionLanguageTask):
    """Validation logs CIDEr, times 100 as papers print it."""

    columns = "captioning"
    metric = "cider"

    def parse(self, fields: list[str]) -> Example:
        """Turn a row into an example (``narvl.data.captioning``)."""
        return captioning.example(fields, self.cfg.max_tgt_words)

    def score(self, indices: Sequence[int], outputs: Sequence[str]) -> float:
        """Return the summed CIDEr of some validation rows' captions."""
        corpus, places = self._cider
        return 100 * sum(
            corpus.score(places[index], clean_caption(text, len(text)))
            for index, text in zip(indices, outputs, strict=True)
        )

    @cached_property
    def _cider(self) -> tuple[CorpusCider, dict[int, int]]:
        """CIDEr over the validation rows, and each row's place in it; rows that are skipped have none."""
        rows = self.datasets["valid"].rows
        references: dict[int, list[str]] = {}
        for index in range(len(rows)):
            try:
                self.parse(rows[index])
                references[index] = captioning.references(rows[index])
            except DataError as error:
                if not self.cfg.skip_bad_rows:
                    raise DataError(rows.locate(index, error)) from error
        return CorpusCider(list(references.values())), {index: place for place, index in enumerate(references)}

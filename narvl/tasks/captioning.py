"""Task ``captioning``: an image in, a caption out."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairseq.tasks import register_task

from narvl.data import captioning
from narvl.data.sample import Example
from narvl.data.text import clean_caption
from narvl.errors import DataError, UsageError
from narvl.evaluation.caption import CorpusCider
from narvl.tasks._base import VisionLanguageConfig, VisionLanguageTask
from narvl.tasks._options import ReferencesConfig

logger = logging.getLogger(__name__)

#: Rows, from all over a training file, that tell whether it has several captions a row.
_LOOKED_AT = 50


@dataclass
class CaptioningConfig(ReferencesConfig, VisionLanguageConfig):
    """Configuration of ``captioning``."""

    max_tgt_words: int = field(default=20, metadata={"help": "words of a target that are kept"})


@register_task("captioning", dataclass=CaptioningConfig)
class CaptioningTask(VisionLanguageTask):
    """Validation logs CIDEr, times 100 as papers print it."""

    columns = "captioning"
    metric = "cider"

    def parse(self, fields: list[str], labelled: bool) -> Example:
        """Turn a row into an example (``narvl.data.captioning``)."""
        return captioning.example(fields, labelled, self.cfg.max_tgt_words)

    def __init__(self, cfg: CaptioningConfig) -> None:
        super().__init__(cfg)
        self._corpora: dict[str, tuple[CorpusCider, dict[int, int]]] = {}

    def all_references(self) -> bool:
        """Tell whether batches hold all captions of a row."""
        return str(self.cfg.references) == "all"

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **unused: Any) -> None:
        """Open ``DATA/SPLIT.tsv`` (fairseq's hook).

        Raises:
            UsageError: ``--references all`` is to train on rows of one caption each.
        """
        super().load_dataset(split, combine, task_cfg, **unused)
        if split != "train":
            return
        rows = self.datasets[split].rows
        captions = []
        for index in range(0, len(rows), max(1, len(rows) // _LOOKED_AT)):
            with contextlib.suppress(DataError):  # the row is named when its turn comes
                captions.append(len(captioning.references(rows[index])))
        several = sum(number > 1 for number in captions)
        if captions and self.all_references() and not several:
            raise UsageError(
                f"{rows.path}: --references all, but none of {len(captions)} rows from all over it has more than one "
                "caption. Join the rows of an image by narvl group, or leave the flag out."
            )
        if several and not self.all_references():
            logger.warning(
                "%s: %d of %d rows from all over it have several captions, of which the first alone is learned; "
                "--references all learns all of them",
                *(rows.path, several, len(captions)),
            )

    def prompt(self, texts: Mapping[str, str]) -> str:
        """Return the prompt, which is always the same."""
        return captioning.PROMPT

    def score(self, split: str, indices: Sequence[int], outputs: Sequence[str]) -> float:
        """Return the summed CIDEr of the captions for some rows of a split."""
        if split not in self._corpora:
            self._corpora[split] = self._corpus(split)
        corpus, places = self._corpora[split]
        return 100 * sum(
            corpus.score(places[index], clean_caption(text, len(text)))
            for index, text in zip(indices, outputs, strict=True)
            if index in places
        )

    def _corpus(self, split: str) -> tuple[CorpusCider, dict[int, int]]:
        """CIDEr over a split's rows, and each row's place in it; rows that are skipped have none."""
        rows = self.datasets[split].rows
        references: dict[int, list[str]] = {}
        for index in range(len(rows)):
            try:
                self.parse(rows[index], labelled=True)
                references[index] = captioning.references(rows[index])
            except DataError as error:
                if not self.cfg.skip_bad_rows:
                    raise DataError(rows.locate(index, error)) from error
        return CorpusCider(list(references.values())), {index: place for place, index in enumerate(references)}

"""Task ``vqa``: an image and a question in, an answer out (VQAv2, GQA)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from fairseq.tasks import register_task

from narvl.data import vqa
from narvl.data.sample import Example
from narvl.decoding.candidates import Candidates, read_candidates
from narvl.errors import UsageError
from narvl.evaluation.vqa import weighted_accuracy
from narvl.tasks._base import VisionLanguageConfig, VisionLanguageTask
from narvl.tasks._options import AnswerConfig, PromptConfig, ReferencesConfig


@dataclass
class VQAConfig(AnswerConfig, PromptConfig, ReferencesConfig, VisionLanguageConfig):
    """Configuration of ``vqa``."""

    add_objects: bool = field(
        default=False, metadata={"help": "tell the model the detected objects' names (column 5) after the question"}
    )
    max_objects: int = field(default=30, metadata={"help": "names of detected objects that are told"})
    candidates: Optional[str] = field(
        default=None,
        metadata={"help": "file of the candidate answers, one a line or JSON, for --candidate-search trie and all"},
    )


@register_task("vqa", dataclass=VQAConfig)
class VQATask(VisionLanguageTask):
    """Validation logs the soft accuracy, in percent."""

    columns = "vqa"
    metric = "vqa_accuracy"
    texts = {"question": True, "objects": False}
    decoding = {"unnormalized": True}
    #: The file read, and what is in it.
    _candidates: tuple[Optional[str], Optional[Candidates]] = (None, None)

    def parse(self, fields: list[str], labelled: bool) -> Example:
        """Turn a row into an example (``narvl.data.vqa``)."""
        objects = self.cfg.max_objects if self.cfg.add_objects else 0
        return vqa.example(fields, labelled, self.cfg.max_src_words, objects)

    @property
    def candidate_search(self) -> str:
        """How an autoregressive model finds its answer (``--candidate-search``)."""
        return str(self.cfg.candidate_search)

    @property
    def candidates(self) -> Candidates | None:
        """The answers of ``--candidates``, where the search is among them."""
        if self.candidate_search == "beam":
            if self.cfg.candidates:
                raise UsageError(
                    f"--candidates {self.cfg.candidates}: nothing reads it. Add --candidate-search trie or all."
                )
            return None
        if not self.cfg.candidates:
            raise UsageError(f"--candidate-search {self.candidate_search}: name the answers by --candidates FILE.")
        if self._candidates[0] != self.cfg.candidates:  # validation asks for every batch
            self._candidates = self.cfg.candidates, Candidates(read_candidates(self.cfg.candidates), self.vocabulary)
        return self._candidates[1]

    def all_references(self) -> bool:
        """Tell whether batches hold all answers of a row."""
        return str(self.cfg.references) == "all"

    def prompt(self, texts: Mapping[str, str]) -> str:
        """Write the prompt for a question and, separated by commas, the names of detected objects."""
        if "objects" in texts and not self.cfg.add_objects:
            raise UsageError("--objects: the model was trained without them (--add-objects). Drop --objects.")
        names = [name.strip() for name in texts.get("objects", "").split(",") if name.strip()]
        return vqa.prompt(texts["question"], names[: self.cfg.max_objects], self.cfg.max_src_words)

    def score(self, split: str, indices: Sequence[int], outputs: Sequence[str]) -> float:
        """Return the summed soft accuracy of the answers to some rows of a split."""
        rows = self.datasets[split].rows
        return 100 * sum(
            weighted_accuracy(text, vqa.answers(rows[index])) for index, text in zip(indices, outputs, strict=True)
        )

"""Task ``entailment``: an image and a hypothesis in; yes, no or maybe out (SNLI-VE)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairseq.tasks import register_task

from narvl.data import entailment
from narvl.data.sample import Example
from narvl.decoding.candidates import Candidates
from narvl.errors import UsageError
from narvl.tasks._base import VisionLanguageConfig, VisionLanguageTask
from narvl.tasks._options import AnswerConfig, PromptConfig


@dataclass
class EntailmentConfig(AnswerConfig, PromptConfig, VisionLanguageConfig):
    """Configuration of ``entailment``."""

    add_caption: bool = field(
        default=False, metadata={"help": "tell the model the image's caption (column 5) beside the hypothesis"}
    )


@register_task("entailment", dataclass=EntailmentConfig)
class EntailmentTask(VisionLanguageTask):
    """Validation logs the accuracy, in percent."""

    columns = "entailment"
    metric = "accuracy"
    texts = {"hypothesis": True, "caption": False}

    def parse(self, fields: list[str], labelled: bool) -> Example:
        """Turn a row into an example (``narvl.data.entailment``)."""
        return entailment.example(fields, labelled, self.cfg.max_src_words, self.cfg.add_caption)

    decoding = {"unnormalized": True}

    @property
    def candidate_search(self) -> str:
        """How an autoregressive model finds its answer (``--candidate-search``)."""
        return str(self.cfg.candidate_search)

    @property
    def candidates(self) -> Candidates | None:
        """The three answers, where the search is among them."""
        return None if self.candidate_search == "beam" else Candidates(entailment.ANSWERS, self.vocabulary)

    def prompt(self, texts: Mapping[str, str]) -> str:
        """Write the prompt for a hypothesis and, where the model was trained with captions, the image's caption."""
        if self.cfg.add_caption is not ("caption" in texts):
            raise UsageError(
                "--caption: the model was trained with captions in its prompts (--add-caption). Give the image's."
                if self.cfg.add_caption
                else "--caption: the model was trained without captions in its prompts. Drop --caption."
            )
        return entailment.prompt(texts["hypothesis"], texts.get("caption"), self.cfg.max_src_words)

    def score(self, split: str, indices: Sequence[int], outputs: Sequence[str]) -> float:
        """Return how many of the answers to some rows of a split are right, times 100."""
        rows = self.datasets[split].rows
        return 100.0 * sum(text == entailment.label(rows[index]) for index, text in zip(indices, outputs, strict=True))

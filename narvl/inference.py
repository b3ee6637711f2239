"""A trained checkpoint, ready to answer outside fairseq's commands: model, task and their settings."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils, utils
from PIL import Image
from torch import Tensor

from narvl.data.sample import Example, collate
from narvl.errors import DataError, UsageError
from narvl.models._precision import set_precision
from narvl.models.narvl import NARVLModel
from narvl.models.ofa import OFAModel
from narvl.tasks._base import VisionLanguageTask

#: How a query's blank is written.
BLANK = "_"


@dataclass(frozen=True)
class Answer:
    """What a model says.

    Attributes:
        text: in plain words.
        score: to compare answers of one model, in nats. Beam search: the text's log-probability, of answers to
            questions and hypotheses whole, otherwise divided by its length. A parallel model: the mean of its tokens'
            log-probabilities; with CTC beam search the text's log-probability.
    """

    text: str
    score: float


class Predictor:
    """A checkpoint, ready to answer.

    Args:
        path: checkpoint of ``fairseq-train --user-dir narvl``.
        bpe_dir: folder of the BPE files; None takes the one it was trained with.
        cpu: stay on the CPU even where there is a GPU.
        precision: see ``narvl.models._precision``.

    Raises:
        UsageError: the checkpoint is missing or was not made by this plugin.
    """

    def __init__(
        self, path: str | Path, bpe_dir: str | None = None, cpu: bool = False, precision: str = "float32"
    ) -> None:
        if not Path(path).is_file():
            raise UsageError(f"--path {path}: no such checkpoint. Train one, or give another file.")
        overrides = {} if bpe_dir is None else {"bpe_dir": bpe_dir}
        try:
            models, _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], overrides)
        except DataError as error:
            raise UsageError(f"--path {error}") from None
        self.task: VisionLanguageTask = task
        self.device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
        self.model: OFAModel = models[0].to(self.device)
        set_precision(self.model, precision)
        self.model.make_generation_fast_()

    @property
    def parallel(self) -> bool:
        """Whether the model decodes in one pass."""
        return isinstance(self.model, NARVLModel)

    def generator(self, flags: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Build what decodes the model.

        Args:
            flags: the task's own of decoding (``ar_search``, ``ctc_beam``); what is not given stays as it is.
            options: those of fairseq-generate (``beam``, ``max_len_b``, ...).
        """
        for name, value in (flags or {}).items():
            setattr(self.task.cfg, name, value)
        return self.task.build_generator([self.model], Namespace(**{**self.task.decoding, **options}))

    def batch(self, images: list[Image.Image], prompts: list[str]) -> dict[str, Any]:
        """Make a batch of RGB images and their prompts, on the model's device."""
        samples = [
            self.task.make_sample(index, Example(prompt, "", ""), image)
            for index, (image, prompt) in enumerate(zip(images, prompts, strict=True))
        ]
        batch = collate(samples, self.task.target_dictionary)
        return utils.move_to_cuda(batch) if self.device.type == "cuda" else batch

    def answer(self, generator: Any, batch: dict[str, Any]) -> list[Answer]:
        """Decode a batch to texts, best hypothesis each."""
        best = [hypotheses[0] for hypotheses in self.task.inference_step(generator, [self.model], batch)]
        return [Answer(self.task.decode(_tokens(hypothesis)), float(hypothesis["score"])) for hypothesis in best]

    def say_queries(self, batch: dict[str, Any]) -> list[list[str]]:
        """Return what each query of a parallel model says, before the collapse; the blank is ``BLANK``.

        Raises:
            UsageError: the model is autoregressive.
        """
        if not self.parallel:
            raise UsageError("--path: an autoregressive model has no queries. Give a narvl checkpoint.")
        symbols = self.generator().say(self.model, batch).tolist()
        dictionary, bpe = self.task.target_dictionary, self.task.build_bpe(None)
        special = {len(dictionary): BLANK} | {symbol: dictionary[symbol] for symbol in range(dictionary.nspecial)}
        return [[special.get(symbol) or bpe.decode(dictionary[symbol]).strip() for symbol in row] for row in symbols]


def _tokens(hypothesis: dict[str, Any]) -> Tensor:
    return hypothesis["tokens"].cpu()

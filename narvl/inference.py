"""A trained checkpoint, ready to answer outside fairseq's commands: model, task and their settings."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils, utils
from PIL import Image
from torch import Tensor

from narvl.data.boxes import parse_fractions, to_pixels
from narvl.data.image import read_image, to_rgb
from narvl.data.sample import Example, collate
from narvl.decoding.options import PREDICTION
from narvl.errors import DataError, UsageError
from narvl.evaluation.grounding import is_valid
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
        box: grounding: left, top, right and bottom in pixels; None where the text is no box.
    """

    text: str
    score: float
    box: list[float] | None = None


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
        if Path(path).is_dir():
            raise UsageError(f"--path {path}: a folder. Give a checkpoint in it, such as {path}/checkpoint_best.pt.")
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

    def __call__(self, image: str | Path | Image.Image, **texts: str) -> Answer:
        """Answer about one image, as ``narvl predict`` does.

        Args:
            image: a file, or a pillow image of any mode.
            texts: what the task asks beside it: ``question=`` (vqa), ``text=`` (grounding), ``hypothesis=``
                (entailment); nothing for captioning.

        Raises:
            DataError: the image cannot be used.
            UsageError: a text is missing, or of another task.
        """
        picture = to_rgb(image) if isinstance(image, Image.Image) else read_image(image)
        prompt = self.prompt(texts)
        [answer] = self.answer(self._generator, self.batch([picture], [prompt]))
        return replace(answer, box=self.box(answer.text, picture))

    @functools.cached_property
    def _generator(self) -> Any:
        return self.generator(None, **PREDICTION)

    def prompt(self, texts: Mapping[str, str]) -> str:
        """Write the prompt of the checkpoint's task from texts named as in ``__call__``.

        Raises:
            UsageError: a text is missing, or of another task.
        """
        task = self.task
        takes = ", ".join(f"--{name}" for name in task.texts) or "none of these flags"
        for name in texts:
            if name not in task.texts:
                raise UsageError(f"--{name}: the checkpoint is for {task.columns}, which takes {takes}. Drop --{name}.")
        for name, needed in task.texts.items():
            if needed and name not in texts:
                raise UsageError(f"--{name} is missing: the checkpoint is for {task.columns}. Add --{name} TEXT.")
        return task.prompt(texts)

    def box(self, text: str, image: Image.Image) -> list[float] | None:
        """Return the box that a text says, in the image's pixels; None where it says none, or the task has none."""
        fractions = parse_fractions(text) if self.task.columns == "grounding" else None
        if fractions is None or not is_valid(fractions):
            return None
        return [round(value, 1) for value in to_pixels(fractions, image.width, image.height)]

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

"""What ``fairseq-generate`` calls for the parallel model: one pass, then the collapse or CTC beam search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from narvl.criterions._parallel import silence
from narvl.decoding.box import COORDINATES, most_probable_boxes
from narvl.decoding.ctc import Decoded, greedy
from narvl.decoding.ctc_beam import check_search, ctc_beam_search
from narvl.decoding.numbers import no_numbers
from narvl.errors import UsageError
from narvl.models.narvl import NARVLModel
from narvl.modules.output_vocabulary import OutputVocabulary


class ParallelGenerator:
    """Decodes a batch by NARVL models in one pass each.

    Args:
        dictionary: the vocabulary.
        vocabulary: the symbols that the task may say; the others' probability is given to them, and to the blank,
            which may always be said. None allows all.
        beam: prefixes that CTC beam search keeps; 0 takes each query's best class (``greedy``).
        top_k: tokens, besides the blank, that beam search lets each query say.
        backend: who searches, see ``ctc_beam_search``.
        boxes: id of the first location bin and their number, where the task says boxes: models whose queries are the
            tokens' positions then say the most probable box that has an area. None takes each query's best class.

    Raises:
        UsageError: ``beam`` is below 0, ``top_k`` below 1, or the backend is unknown or not installed.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        vocabulary: OutputVocabulary | None = None,
        beam: int = 0,
        top_k: int = 10,
        backend: str = "auto",
        boxes: tuple[int, int] | None = None,
    ) -> None:
        if beam < 0:
            raise UsageError(f"--ctc-beam {beam}: give the number of prefixes to keep, or 0 for the best classes.")
        if beam:
            check_search(beam, top_k, backend)
        self.eos: int = dictionary.eos()
        self.vocabulary = vocabulary
        self.beam = beam
        self.top_k = top_k
        self.backend = backend
        self.boxes = boxes

    @torch.no_grad()  # not inference_mode: fairseq-generate changes the scores in place
    def generate(
        self,
        models: Sequence[NARVLModel],
        sample: dict[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
        outputs: Sequence[tuple[Tensor, dict[str, Any]]] = (),
    ) -> list[list[dict[str, Any]]]:
        """Decode a batch.

        Args:
            models: one model, or several whose probabilities are averaged.
            sample: the batch.
            prefix_tokens: not supported.
            constraints: not supported.
            outputs: what the models gave for the batch, all V + 1 logits, where that is known already.

        Returns:
            For each row its hypotheses, the best first: ``tokens`` (ending in ``</s>``), ``score``,
            ``positional_scores`` (each token's log-probability, without ``</s>``), and fairseq's empty ``attention``
            and ``alignment``. Without a beam there is one hypothesis, and its score is the mean of the tokens'
            log-probabilities; with one there are up to ``beam``, and the score is the text's log-probability, over all
            of its paths.

        Raises:
            UsageError: a prefix or constraints are given, the models differ in their alignment or number of queries, or
                a beam is asked of models whose queries are the tokens' positions.
            DataError: what a model says of a row is no number.
        """
        if prefix_tokens is not None or constraints is not None:
            raise UsageError("--prefix-size, --constraints: a parallel decoder takes neither. Drop them.")
        if len({model.alignment for model in models}) > 1:
            raise UsageError("--path: models of different --alignment cannot be averaged. Give one of them.")
        given = [self._said(logits, extra) for logits, extra in outputs]
        parts = given or [self._log_probs(model, sample["net_input"]) for model in models]
        if len({part.shape for part in parts}) > 1:
            raise UsageError("--path: models of different --num-queries cannot be averaged. Give one of them.")
        log_probs = average(parts)
        _check_numbers(log_probs, sample)
        alignment = models[0].alignment
        if not self.beam:
            return [
                [self._hypothesis(decoded, float(decoded.log_probs.mean()) if len(decoded.tokens) else 0.0)]
                for decoded in self._best(log_probs, alignment)
            ]
        if alignment != "ctc":
            raise UsageError(
                f"--ctc-beam {self.beam}: a model of --alignment {alignment} says token i by query i, which leaves no "
                "paths to search. Drop it."
            )
        blank, eos = log_probs.size(-1) - 1, self._column(self.eos)
        texts = ctc_beam_search(log_probs, blank, eos, self.beam, self.top_k, self.backend)
        return [[self._hypothesis(text, text.log_prob) for text in row] for row in texts]

    @torch.no_grad()
    def say(self, model: NARVLModel, sample: dict[str, Any]) -> Tensor:
        """Return the symbol that each query says, before the collapse: (B, N), the blank being the last, V."""
        classes = self._log_probs(model, sample["net_input"]).argmax(dim=-1)
        if self.vocabulary is None:
            return classes
        blank = classes == self.vocabulary.size
        symbols = self.vocabulary.to_symbols(classes.masked_fill(blank, 0))
        return symbols.masked_fill(blank, model.decoder.embed_tokens.num_embeddings)

    def _best(self, log_probs: Tensor, alignment: str) -> list[Decoded]:
        if self.boxes is None or alignment != "position":
            return greedy(log_probs, log_probs.size(-1) - 1, self._column(self.eos), merge=alignment == "ctc")
        if log_probs.size(1) < COORDINATES:
            raise UsageError(
                f"--num-queries {log_probs.size(1)}: a box needs {COORDINATES} queries, and one for its end."
            )
        first, bins = self.boxes
        return most_probable_boxes(log_probs, self._column(first), bins)

    def _log_probs(self, model: NARVLModel, net_input: dict[str, Tensor]) -> Tensor:
        """Compute log-probabilities (B, N, K + 1) of what may be said; tokens are columns until ``_hypothesis``."""
        return _normalised(*model(**net_input, vocabulary=self.vocabulary))

    def _said(self, logits: Tensor, extra: dict[str, Any]) -> Tensor:
        return _normalised(logits if self.vocabulary is None else self.vocabulary.select(logits), extra)

    def _column(self, symbol: int) -> int:
        return symbol if self.vocabulary is None else self.vocabulary.column(symbol)

    def _hypothesis(self, decoded: Decoded, score: float) -> dict[str, Any]:
        tokens = decoded.tokens if self.vocabulary is None else self.vocabulary.to_symbols(decoded.tokens)
        return {
            "tokens": torch.cat([tokens, tokens.new_tensor([self.eos])]),
            "score": score,
            "positional_scores": decoded.log_probs,
            "attention": None,
            "alignment": torch.empty(0),
        }


def _normalised(logits: Tensor, extra: dict[str, Any]) -> Tensor:
    if extra["padding"] is not None:
        logits = silence(logits, extra["padding"], logits.size(-1) - 1)
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32)


def _check_numbers(log_probs: Tensor, sample: dict[str, Any]) -> None:
    # One class tells of all: a query's probabilities share their sum.
    broken = log_probs[..., -1].isnan().any(dim=-1)
    if bool(broken.any()):
        raise no_numbers(sample, broken.nonzero().flatten().tolist())


def average(log_probs: list[Tensor]) -> Tensor:
    """Average models' probabilities, given and returned as logarithms of one shape."""
    if len(log_probs) == 1:
        return log_probs[0]
    return torch.logsumexp(torch.stack(log_probs), dim=0) - math.log(len(log_probs))

"""The decoders that are compared, each as ``fairseq-generate`` would build it for a task."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kit.workloads import Workload, allowed, vocabulary
from narvl.decoding.parallel import ParallelGenerator
from narvl.modules.output_vocabulary import OutputVocabulary

Build = Callable[[Any, Workload], Any]


@dataclass(frozen=True)
class Decoder:
    """A way to decode.

    Attributes:
        family: the model's, ``ofa`` or ``narvl``.
        label: for people.
        build: makes the generator for a prepared model and a task; None where this version has no such decoder.
        beam: hypotheses of an autoregressive decoder.
        ctc: whether it needs paths, which a task whose queries are positions has not.
        prepared: whether the model is prepared for inference, or as it was trained.
        announced: whether the decoder is told how far the search goes and what it may say, see ``count_decoder``.
    """

    family: str
    label: str
    build: Build | None
    beam: int = 1
    ctc: bool = False
    prepared: bool = True
    announced: bool = True


def _search(module: str, name: str, beam: int) -> Build | None:
    """Return how to build an autoregressive search of ``BeamGenerator``'s interface."""
    try:
        search = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None

    def build(model: Any, workload: Workload) -> Any:
        return search(
            [model],
            vocabulary().dictionary,
            allowed=allowed(workload),
            no_repeat_ngram_size=workload.block,
            beam_size=beam,
            max_len_a=0,
            max_len_b=workload.answer,
            min_len=workload.answer,
        )

    return build


def _parallel(beam: int) -> Build:
    def build(model: Any, workload: Workload) -> Any:
        boxes = (vocabulary().first_bin, vocabulary().num_bins) if workload.bins else None
        said = OutputVocabulary(allowed(workload), constant=model.answers_only)
        return ParallelGenerator(vocabulary().dictionary, said, beam=beam, boxes=boxes)

    return build


_FAIRSEQ = ("narvl.decoding.beam", "BeamGenerator")
_OPTIMISED = ("narvl.decoding.ar_search", "ARSearch")

#: The first is what speed-ups are ratios to.
DECODERS = {
    "ar5-fairseq-trained": Decoder(
        "ofa", "AR beam 5, fairseq, model as trained", _search(*_FAIRSEQ, 5), beam=5, prepared=False, announced=False
    ),
    "ar5-fairseq": Decoder("ofa", "AR beam 5, fairseq", _search(*_FAIRSEQ, 5), beam=5, announced=False),
    "ar5-optimised": Decoder("ofa", "AR beam 5, optimised", _search(*_OPTIMISED, 5), beam=5),
    "ar1-fairseq": Decoder("ofa", "AR greedy, fairseq", _search(*_FAIRSEQ, 1), announced=False),
    "ar1-optimised": Decoder("ofa", "AR greedy, optimised", _search(*_OPTIMISED, 1)),
    "narvl": Decoder("narvl", "NARVL greedy", _parallel(0)),
    "narvl-ctc5": Decoder("narvl", "NARVL CTC beam 5", _parallel(5), ctc=True),
}

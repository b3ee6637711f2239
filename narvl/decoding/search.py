"""Which beam search decodes autoregressive models: ours, or fairseq's where an option asks for what ours lacks."""

from __future__ import annotations

import logging
from typing import Any

from fairseq.data import Dictionary
from fairseq.search import BeamSearch
from torch import Tensor

from narvl.decoding.ar_search import ARSearch
from narvl.decoding.beam import BeamGenerator
from narvl.decoding.candidates import Candidates
from narvl.models.ofa import OFAModel

logger = logging.getLogger(__name__)

#: Values of ``--ar-search``.
SEARCHES = ("optimised", "fairseq")

# Options of fairseq's search alone, which are not set where ours is built.
_FAIRSEQ_S = ("search_strategy", "match_source_len", "lm_model", "lm_weight")


def build_search(
    name: str,
    models: list[OFAModel],
    dictionary: Dictionary,
    allowed: Tensor | None,
    candidates: Candidates | None,
    prefix_size: int = 0,
    **options: Any,
) -> ARSearch | BeamGenerator:
    """Build a beam search.

    Args:
        name: one of ``SEARCHES``. Where an option asks for another strategy than beam search, for a prefix or for a
            language model, fairseq's search is built all the same.
        models: one model, or several to average.
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,).
        candidates: the only answers that may be said; None leaves the text free.
        prefix_size: tokens of the target that are given to the search.
        options: those of fairseq's ``SequenceGenerator``.
    """
    other_strategy = not isinstance(options.get("search_strategy"), BeamSearch | None)
    lacking = {
        "--sampling, --diverse-beam-groups, --diversity-rate, --constraints": other_strategy,
        "--match-source-len": options.get("match_source_len", False),
        "--prefix-size": prefix_size > 0,
        "--lm-path": options.get("lm_model") is not None,
    }
    reasons = [flag for flag, given in lacking.items() if given]
    if name == "optimised" and not reasons:
        ours = {option: value for option, value in options.items() if option not in _FAIRSEQ_S}
        return ARSearch(models, dictionary, allowed, candidates=candidates, **ours)
    if name == "optimised":
        logger.info("%s: searched by fairseq", ", ".join(reasons))
    return BeamGenerator(models, dictionary, allowed, candidates=candidates, **options)

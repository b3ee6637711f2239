"""Who searches the prefixes in CTC beam search: our plain search, or a library where it is installed."""

from __future__ import annotations

import itertools
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from narvl.decoding.ctc_search import Choices, Search, plain_search
from narvl.errors import UsageError

# Stands for -inf where a library's arithmetic may not take it; exp(-1e4) is 0 even in double precision.
_NEVER = -1e4


def flashlight_search(choices: Choices, beam: int) -> list[list[int]]:
    """Search by flashlight-text's lexicon-free decoder.

    It keeps paths that end in a blank and paths that end in a token as two hypotheses, so it is given twice the beam.
    """
    text: Any = import_module("flashlight.lib.text.decoder")
    queries, columns = choices.log_probs.shape
    options = text.LexiconFreeDecoderOptions(
        beam_size=2 * beam,
        beam_size_token=int(choices.log_probs.isfinite().sum(1).max()),  # of each query, the most probable
        beam_threshold=1e9,  # none: only -inf lies so far below the best
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=text.CriterionType.CTC,
    )
    decoder = text.LexiconFreeDecoder(options, text.ZeroLM(), sil_token_idx=0, blank_token_idx=0, transitions=[])
    hypotheses = decoder.decode(choices.log_probs.data_ptr(), queries, columns)
    sequences = dict.fromkeys(
        tuple(column for column, _ in itertools.groupby(hypothesis.tokens) if column > 0) for hypothesis in hypotheses
    )
    return [list(sequence) for sequence in itertools.islice(sequences, beam)]


def ctcdecode_search(choices: Choices, beam: int) -> list[list[int]]:
    """Search by ctcdecode's ``CTCBeamDecoder``."""
    library: Any = import_module("ctcdecode")
    columns = choices.log_probs.size(1)
    decoder = library.CTCBeamDecoder(
        [str(column) for column in range(columns)],
        cutoff_top_n=columns,
        cutoff_prob=1.0,
        beam_width=beam,
        num_processes=1,
        blank_id=0,
        log_probs_input=True,
    )
    sequences, _, _, lengths = decoder.decode(choices.log_probs.clamp(min=_NEVER).unsqueeze(0))
    return [row[:length].tolist() for row, length in zip(sequences[0], lengths[0].tolist(), strict=True)]


#: The search of each backend, the module that it needs, and how to get it.
_BACKENDS: dict[str, tuple[Search, str | None, str]] = {
    "plain": (plain_search, None, ""),
    "flashlight": (flashlight_search, "flashlight.lib.text.decoder", "pip install flashlight-text"),
    "ctcdecode": (ctcdecode_search, "ctcdecode", "build github.com/parlance/ctcdecode"),
}
BACKENDS = ("auto", *_BACKENDS)


def find(backend: str) -> Search:
    """Return a backend's search; ``auto`` is flashlight where it is installed, else the plain one.

    Raises:
        UsageError: the backend is unknown, or its package is not installed.
    """
    if backend == "auto":
        backend = "flashlight" if _installed("flashlight.lib.text.decoder") else "plain"
    if backend not in _BACKENDS:
        raise UsageError(f"--ctc-backend {backend}: give one of {', '.join(BACKENDS)}.")
    search, module, remedy = _BACKENDS[backend]
    if module is not None and not _installed(module):
        raise UsageError(f"--ctc-backend {backend}: it is not installed. Either {remedy}, or give --ctc-backend plain.")
    return search


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that would hold it
        return False

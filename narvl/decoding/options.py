"""fairseq-generate's options of decoding, by name; refused where what decodes could not heed them."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from fairseq.dataclass.configs import GenerationConfig
from omegaconf import DictConfig

from narvl.errors import UsageError

#: To each option what it is where nobody gave it.
DEFAULTS: dict[str, Any] = {entry.name: entry.default for entry in dataclasses.fields(GenerationConfig)}

#: What beam search has unless told otherwise where one asks about an image: hypotheses kept, longest output in tokens.
PREDICTION = {"beam": 5, "max_len_b": 40}

#: Of a search, or of what is printed of one: nothing that decodes without a search has a use for them. Those that the
#: recipes of both kinds of model share (``beam``, lengths, ``unnormalized``) are not among them.
OF_A_SEARCH = (
    *("score_reference", "lm_path", "constraints", "prefix_size", "match_source_len", "min_len", "lenpen", "unkpen"),
    *("no_repeat_ngram_size", "sampling", "diverse_beam_groups", "diversity_rate", "print_alignment", "print_step"),
)


def by_name(options: Namespace | DictConfig) -> dict[str, Any]:
    """Return the options that are given: fairseq's commands have a configuration, validation a namespace."""
    return dict(options) if isinstance(options, DictConfig) else vars(options)


def refuse(given: Mapping[str, Any], names: Iterable[str], reason: str) -> None:
    """Refuse options that would be given in vain.

    Raises:
        UsageError: one of them is not as it is by default; ``reason`` says why that is in vain.
    """
    for name in names:
        value = given.get(name, DEFAULTS[name])
        if value != DEFAULTS[name]:
            raise UsageError(f"--{name.replace('_', '-')} {value}: {reason} Drop it.")

"""From a checkpoint's parameters to ours: the key table of OFA's and NARVL's public checkpoints."""

from __future__ import annotations

import logging
import re
from typing import Any

import torch
from torch import Tensor

from narvl.errors import UsageError

logger = logging.getLogger(__name__)

TOKENS = "encoder.embed_tokens.weight"
BLANK = "decoder.blank_embed.weight"
QUERIES = "decoder.query_embed.weight"
#: What a parallel model may have beyond an autoregressive one's weights, fresh where a checkpoint lacks it.
_CONDITION = ("decoder.condition.weight", "decoder.condition.bias")
_ADDED = (QUERIES, BLANK, *_CONDITION)

#: Names that repeat ``TOKENS``: one table serves encoder input, decoder input and output.
TIED = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")

#: Names in public checkpoints that no task here needs.
_UNUSED = re.compile(
    r"(encoder|decoder)\.version"
    r"|(encoder|decoder)\.(token_rp_bucket|image_rp_bucket|image_position_idx)"
    r"|decoder\.(code_layernorm_embedding|image_pos_ln)\.(weight|bias)"
    r"|decoder\.embed_image_positions\.weight"
    r"|decoder\.image_rel_pos_table_list\.\d+\.weight"
)


def convert_state_dict(state: dict[str, Any], own: dict[str, Tensor]) -> None:
    """Turn a checkpoint's state dict into one that fits the model, in place.

    Accepted: our own names, the reference's names for OFA (V token rows) and NARVL (V + 1 rows, the blank last), and an
    OFA checkpoint for a NARVL model, whose queries, blank and self-conditioning then keep their fresh values. Queries
    of another number are cut, or extended with fresh ones; self-conditioning that a parallel model has not is left out.
    What was loaded, added, resized and left out is logged.

    Args:
        state: parameter names and tensors, changed in place.
        own: the model's own state dict; a model is parallel when it has a blank.

    Raises:
        UsageError: a name is unknown or missing, a shape differs, or tied tables differ; all are listed.
    """
    _drop_unneeded(state)
    added: list[str] = []
    resized: list[str] = []
    left_out: list[str] = []
    if BLANK in own and TOKENS in state:
        _split_blank(state, own[TOKENS].size(0))
        for name in _ADDED:
            if name in own and name not in state:
                state[name] = own[name].clone()
                added.append(f"{name} {tuple(own[name].shape)}")
        for name in _CONDITION:
            if name in state and name not in own:
                del state[name]
                left_out.append(name)
        if QUERIES in own and state[QUERIES].size(0) != own[QUERIES].size(0):
            resized.append(f"{QUERIES} from {state[QUERIES].size(0)} to {own[QUERIES].size(0)} rows")
            rows = min(state[QUERIES].size(0), own[QUERIES].size(0))
            state[QUERIES] = torch.cat([state[QUERIES][:rows].to(own[QUERIES]), own[QUERIES][rows:]])
    _check(state, own)
    if added or resized or left_out:
        logger.log(
            logging.WARNING if left_out else logging.INFO,
            "checkpoint: %d tensors loaded; added: %s; resized: %s; left out: %s",
            len(own) - len(added),
            *(", ".join(names) or "none" for names in (added, resized, left_out)),
        )


def _drop_unneeded(state: dict[str, Any]) -> None:
    tokens = state.get(TOKENS)
    for name in TIED:
        table = state.pop(name, None)
        if table is not None and tokens is not None and table is not tokens and not torch.equal(table, tokens):
            raise UsageError(
                f"checkpoint: {name} differs from {TOKENS}; narvl shares one table. "
                "Give a checkpoint trained with shared embeddings."
            )
    for name in [name for name in state if _UNUSED.fullmatch(name)]:
        del state[name]


def _split_blank(state: dict[str, Any], vocabulary: int) -> None:
    rows = state[TOKENS].size(0)
    if rows == vocabulary + 1 and BLANK not in state:
        state[BLANK] = state[TOKENS][vocabulary:].clone()
        state[TOKENS] = state[TOKENS][:vocabulary].clone()


def _check(state: dict[str, Any], own: dict[str, Tensor]) -> None:
    unknown = sorted(state.keys() - own.keys())
    missing = sorted(own.keys() - state.keys())
    differing = [
        f"{name} is {tuple(state[name].shape)}, the model's is {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if not (unknown or missing or differing):
        return
    problems = [
        f"{len(names)} {what}: {', '.join(names)}"
        for what, names in (("unknown", unknown), ("missing", missing), ("of another shape", differing))
        if names
    ]
    hint = "Give the --arch that the checkpoint was trained with."
    if any(name.startswith(TOKENS) for name in differing):
        hint += " The token table depends on --bpe-dir, --code-dict-size and --num-bins."
    message = f"checkpoint: its parameters do not fit this model. {'; '.join(problems)}. {hint}"
    logger.error(message)  # fairseq's trainer ends with a line of its own that does not say why
    raise UsageError(message)

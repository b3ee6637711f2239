"""narvl as a plugin that glances: in training, some queries are replaced by what they should say.

After Qian et al., "Glancing Transformer for Non-Autoregressive Neural Machine Translation" (ACL 2021), by CTC's best
path: a first pass, without gradient, chooses the likeliest reference and aligns it. Of the queries of the second pass,
which learns, as many as a share of the first pass's mistakes are replaced: fewer as the model learns. Unlike there, the
share is fixed, and the loss is that of all references, over all queries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lead_maths import best_paths, likeliest_reference, references_of
from narvl.criterions.query_ctc import QueryCTCCriterion, References
from narvl.models.ofa import unwrap
from narvl.modules.parallel_decoder import NARVLDecoder

#: Share of the mistakes that is shown.
SHARE = 0.5

_learn, _decode, _embed_queries = QueryCTCCriterion.forward, NARVLDecoder.forward, NARVLDecoder._input


def _learn_glancing(self: QueryCTCCriterion, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
    decoder: Any = unwrap(model).decoder
    decoder.glance = references_of(sample) if model.training else None
    return _learn(self, model, sample, reduce)


def _decode_twice(self: Any, prev: Any, encoder_out: Any, vocabulary: Any = None, intermediate: Any = ()) -> Any:
    self.shown = None
    if self.training and self.glance is not None:
        with torch.no_grad():
            logits, _ = _decode(self, None, encoder_out)
            self.shown = _choose(logits, self.glance)
    return _decode(self, prev, encoder_out, vocabulary, intermediate)


def _choose(logits: Tensor, references: References) -> tuple[Tensor, Tensor]:
    """Choose which queries are shown (B, N), and what they should say (B, N)."""
    blank = logits.size(-1) - 1
    log_probs = logits.log_softmax(-1)
    target, lengths = likeliest_reference(log_probs, references, blank)
    path = best_paths(log_probs, target, lengths, blank)
    mistakes = (path != logits.argmax(-1)).sum(1)
    number = (SHARE * mistakes).round().masked_fill(lengths == 0, 0)
    rank = torch.rand(path.shape, device=path.device).argsort(dim=1).argsort(dim=1)
    return rank < number.unsqueeze(1), path


def _embed_shown(self: Any, encoder_out: Any) -> tuple[Tensor, Tensor | None]:
    if self.shown is None:
        return _embed_queries(self, encoder_out)
    shown, path = self.shown
    said = torch.cat([self.embed_tokens.weight, self.blank_embed.weight])[path]
    return self.embed(torch.where(shown.unsqueeze(-1), said, self.query_embed.weight)), None


QueryCTCCriterion.forward = _learn_glancing  # type: ignore[method-assign]
NARVLDecoder.forward = _decode_twice  # type: ignore[method-assign, assignment]
NARVLDecoder._input = _embed_shown  # type: ignore[method-assign]

"""narvl as a plugin whose queries carry a discrete code, chosen by the image: a latent for the choice of wording.

Training sums over the codes, weighed by what the image says of them, as a mixture of experts does (Shen et al.,
"Mixture Models for Diverse Machine Translation", ICML 2019); an answer takes the likeliest code, in one pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lead_maths import references_of, sum_over_codes
from narvl.criterions._parallel import SampleLosses
from narvl.criterions.query_ctc import QueryCTCCriterion
from narvl.errors import UsageError
from narvl.models.narvl import NARVLModel
from narvl.models.ofa import unwrap
from narvl.modules.parallel_decoder import NARVLDecoder

#: Codes.
CODES = 5

_build = NARVLModel.build_model.__func__  # type: ignore[attr-defined]
_learn, _lose = QueryCTCCriterion.forward, QueryCTCCriterion.losses
_decode = NARVLDecoder.forward


def _build_model(cls: type[NARVLModel], cfg: Any, task: Any) -> NARVLModel:
    model: NARVLModel = _build(cls, cfg, task)
    width = cfg.embed_dim
    model.decoder.code_embed = nn.Embedding(CODES, width)
    nn.init.normal_(model.decoder.code_embed.weight, std=0.02)  # as queries
    model.decoder.code_prior = nn.Linear(width, CODES)
    return model


def _decode_codes(self: Any, prev: Any, encoder_out: Any, vocabulary: Any = None, intermediate: Any = ()) -> Any:
    self.log_prior = self.code_prior(encoder_out.states.mean(1)).log_softmax(-1)
    samples = torch.arange(len(self.log_prior), device=self.log_prior.device)
    if self.training:  # every sample with every code
        encoder_out = encoder_out.select(samples.repeat_interleave(CODES))
        self.codes = torch.arange(CODES, device=samples.device).repeat(len(samples))
    else:
        self.codes = self.log_prior.argmax(-1)
    return _decode(self, prev, encoder_out, vocabulary, intermediate)


def _embed_coded(self: Any, encoder_out: Any) -> tuple[Tensor, Tensor | None]:
    return self.embed(self.query_embed.weight + self.code_embed(self.codes).unsqueeze(1)), None


def _learn_codes(self: Any, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
    if self.label_smoothing:
        raise UsageError(f"--label-smoothing {self.label_smoothing}: codes are summed over without it. Give 0.")
    self.prior_of = (unwrap(model).decoder,) if model.training else ()  # a tuple: no module of the criterion's
    return _learn(self, model, sample, reduce)


def _lose_codes(self: Any, logits: Tensor, sample: dict[str, Any], blank: int, padding: Any) -> SampleLosses:
    if not self.prior_of:
        return _lose(self, logits, sample, blank, padding)
    references = references_of(sample, logits.size(1))
    repeated = {name: value.repeat_interleave(CODES, dim=0) for name, value in sample["references"].items()}
    each = _lose(self, logits, {"references": repeated}, blank, padding)
    return sum_over_codes(each, self.prior_of[0].log_prior, references.lengths)


NARVLModel.build_model = classmethod(_build_model)  # type: ignore[assignment]
QueryCTCCriterion.forward = _learn_codes  # type: ignore[method-assign]
QueryCTCCriterion.losses = _lose_codes  # type: ignore[method-assign]
NARVLDecoder.forward = _decode_codes  # type: ignore[method-assign, assignment]
NARVLDecoder._input = _embed_coded  # type: ignore[method-assign]

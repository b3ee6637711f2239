"""narvl as a plugin whose last quarter of training matches pairs of neighbours with the reference that is matched best.

The loss, which has no label smoothing, is 1 less the F1 of pairs that the text is expected to have (Shao and Feng,
NeurIPS 2022; see ``lead_maths``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lead_maths import pair_f1, references_of
from narvl.criterions._parallel import SampleLosses
from narvl.criterions.query_ctc import QueryCTCCriterion
from progress import count_updates, progress

#: Share of the training after which pairs are matched.
FROM = 0.75

_learn, _lose = QueryCTCCriterion.forward, QueryCTCCriterion.losses


def _learn_pairs(self: Any, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
    self.matching = model.training and progress(model) >= FROM
    return _learn(self, model, sample, reduce)


def _lose_pairs(self: Any, logits: Tensor, sample: dict[str, Any], blank: int, padding: Any) -> SampleLosses:
    if not self.matching:
        return _lose(self, logits, sample, blank, padding)
    with torch.no_grad():  # what is logged, and who can be reached
        result = _lose(self, logits.detach(), sample, blank, padding)
    given = references_of(sample, logits.size(1))
    probs = logits.softmax(-1)
    places = [pair_f1(probs, given.tokens[:, r], given.lengths[:, r], blank) for r in range(given.tokens.size(1))]
    return replace(result, loss=torch.where(result.reachable, 1 - torch.stack(places).amax(0), 0.0))


count_updates()
QueryCTCCriterion.forward = _learn_pairs  # type: ignore[method-assign]
QueryCTCCriterion.losses = _lose_pairs  # type: ignore[method-assign]

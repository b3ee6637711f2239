"""narvl as a plugin that learns the shortest reference of each image first, and all of them by half of the training."""

from __future__ import annotations

from typing import Any

from lead_maths import keep_shortest, references_of
from narvl.criterions.query_ctc import QueryCTCCriterion
from progress import count_updates, progress

#: Share of the training after which all references count.
ALL_AFTER = 0.5

_learn = QueryCTCCriterion.forward


def _learn_short_first(self: Any, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
    if model.training:
        kept = keep_shortest(references_of(sample), progress(model) / ALL_AFTER)
        sample = {**sample, "references": vars(kept)}
    return _learn(self, model, sample, reduce)


count_updates()
QueryCTCCriterion.forward = _learn_short_first  # type: ignore[method-assign]

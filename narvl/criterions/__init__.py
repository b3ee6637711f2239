"""Losses of the parallel model: ``query_ctc`` and, for the ablation, ``query_cross_entropy``."""

from narvl.criterions import query_cross_entropy, query_ctc

__all__ = ["query_cross_entropy", "query_ctc"]

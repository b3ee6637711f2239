"""Losses of the parallel model (``query_ctc``, ``query_cross_entropy``) and of OFA (``weighted_cross_entropy``)."""

from narvl.criterions import query_cross_entropy, query_ctc, weighted_cross_entropy

__all__ = ["query_cross_entropy", "query_ctc", "weighted_cross_entropy"]

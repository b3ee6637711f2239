"""The registered models: ``ofa`` (autoregressive) and ``narvl`` (parallel)."""

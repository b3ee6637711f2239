"""From a model's logits to texts: the parallel collapse, and the autoregressive beam search."""

"""Data, in the order it flows: tsv rows, images and text, samples, batches."""

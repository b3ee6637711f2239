"""The model's numerics; nothing here registers anything with fairseq."""

"""Embedded data: rendered scenes with language for four tasks, their truth, and a judge of captions."""

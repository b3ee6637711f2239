"""Sequence-level distillation: the teacher's outputs for the training images become the targets.

Three steps, a file each: ``rows`` (what the teacher is to decode), ``decode`` (in shards), ``targets`` (the student's
training file). They share a folder, whose files ``folder`` names.
"""

"""Stands in for torch while fairseq is built: see utils/cpp_extension.py."""

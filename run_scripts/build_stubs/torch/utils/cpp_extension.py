"""Leaves fairseq's torch extensions out of its build; put on PYTHONPATH by setup.sh for that build alone.

fairseq's own setup.py imports torch.utils.cpp_extension to compile three extensions that narvl never calls (edit
distances and alignments of other models). They take most of the build's five minutes and need torch's C++ headers. The
plain C++ extensions, which fairseq does need, are built as usual.
"""

from __future__ import annotations

from setuptools import Extension
from setuptools.command.build_ext import build_ext


class CppExtension(Extension):
    """An extension that links torch: recognised by its type, never built."""


class BuildExtension(build_ext):
    """Builds every extension but those that link torch."""

    def finalize_options(self) -> None:
        """Drop the extensions that link torch, here and from what will be installed."""
        super().finalize_options()
        self.extensions = [extension for extension in self.extensions if not isinstance(extension, CppExtension)]
        self.distribution.ext_modules = self.extensions

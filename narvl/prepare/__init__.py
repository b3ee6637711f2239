"""Converts data that people have into OFA's TSV layout: one module a source, listed in ``narvl.commands.prepare``."""

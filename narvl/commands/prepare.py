"""``narvl prepare SOURCE``: turns a user's own data into a data directory that the tasks read."""

from __future__ import annotations

import argparse

from narvl.prepare import photos

HELP = "convert your own data into a data directory (TSV files and subword vocabulary)"

#: Each source is a module with what a command has: ``HELP``, ``add_arguments(parser)`` and ``run(args)``.
SOURCES = {"photos": photos}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand a source."""
    subparsers = parser.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    for name, module in SOURCES.items():
        module.add_arguments(subparsers.add_parser(name, help=module.HELP, description=module.__doc__))


def run(args: argparse.Namespace) -> None:
    """Convert the chosen source."""
    SOURCES[args.source].run(args)

"""``narvl prepare SOURCE``: turns a user's own data, or a public data set as downloaded, into a data directory."""

from __future__ import annotations

import argparse

from narvl.prepare import coco, gqa, photos, refcoco, snli_ve, vqa

HELP = "convert your own data or a public data set into a data directory (TSV files and subword vocabulary)"

#: Each source is a module with what a command has: ``HELP``, ``add_arguments(parser)`` and ``run(args)``.
SOURCES = {"photos": photos, "coco": coco, "vqa": vqa, "gqa": gqa, "refcoco": refcoco, "snli-ve": snli_ve}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand a source."""
    subparsers = parser.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    for name, module in SOURCES.items():
        source = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            # A source's description lists the files that it needs and a command, line by line.
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(source)


def run(args: argparse.Namespace) -> None:
    """Convert the chosen source."""
    SOURCES[args.source].run(args)

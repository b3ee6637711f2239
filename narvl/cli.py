"""The command ``narvl``: what fairseq's own commands lack, one subcommand a file of ``narvl.commands``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

logger = logging.getLogger(__name__)

#: In the order of their use.
COMMANDS = (
    "scenes",
    "prepare",
    "group",
    "distill",
    "schedule",
    "ema",
    "predict",
    "score",
    "report",
    "latency",
    "tables",
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps a description's lines, and tells a default once, where there is one worth telling."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.required or action.default in (None, False, [], "") or "(default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="narvl",
        description="Parallel vision-language decoding (NARVL). Train with fairseq-train --user-dir narvl, decode with "
        "fairseq-generate; these commands do the rest.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"narvl.commands.{name}")
        subparser = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=HelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(execute=module.run)  # not "run": report has a flag of that name
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        0, or 2 after an error of the user's data, usage or file system, told in one line.
    """
    from narvl.errors import DataError, UsageError, visible

    level = os.environ.get("LOGLEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        sys.stderr.write(f"narvl: error: LOGLEVEL={level}: give one of {', '.join(logging.getLevelNamesMapping())}.\n")
        return 2
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    args = build_parser().parse_args(argv)
    try:
        args.execute(args)
    except (DataError, UsageError) as error:
        sys.stderr.write(f"narvl {args.command}: error: {error}\n")
        return 2
    except BrokenPipeError:
        # The reader (head, less) has left; nothing is wrong. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a name that is too long, a file that may not be read: of any path that is given
        logger.debug("where it came from", exc_info=True)
        named = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
        sys.stderr.write(f"narvl {args.command}: error: {visible(named)}. Give another path, or put this one right.\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""No flag is for show: what a command takes, the package reads."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "narvl").rglob("*.py")))


def fairseq_flags() -> dict[str, str]:
    """Each flag that narvl adds to fairseq's commands, and the configuration that has it."""
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    import narvl  # noqa: F401

    registries = (TASK_DATACLASS_REGISTRY, MODEL_DATACLASS_REGISTRY, CRITERION_DATACLASS_REGISTRY)
    configs = [config for registry in registries for config in registry.values() if "narvl" in config.__module__]
    assert len(configs) >= 5
    names = {field.name: config.__name__ for config in configs for field in dataclasses.fields(config)}
    del names["_name"]  # fairseq's own, which every configuration has
    return names


def narvl_flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The names under which a parser and its subcommands store what they are given."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from narvl_flags(subparser)
        if action.dest not in ("help", argparse.SUPPRESS):
            yield action.dest


def test_every_flag_is_read() -> None:
    from narvl.cli import build_parser

    unread = {name for name in narvl_flags(build_parser()) if not re.search(rf"\bargs\.{name}\b", SOURCE)}
    assert not unread
    unread = {name for name in fairseq_flags() if not re.search(rf"\b(cfg|self)\.{name}\b", SOURCE)}
    # These reach a criterion's constructor by name.
    assert unread <= {"label_smoothing"}, unread

"""No flag is for show: whatever a command takes, its own code reads; and each says in its help what it does."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fairseq import options

from narvl.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "narvl"
#: Where a command may hand its parsed arguments on to.
HELPERS = ("narvl.commands", "narvl.prepare")


def read_from(tree: ast.AST, owner: str) -> set[str]:
    """Names read as ``owner.NAME`` or ``something.owner.NAME``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            value = node.value
            name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else None
            if name == owner:
                found.add(node.attr)
    return found


def parse(module: str) -> ast.AST:
    path = ROOT.joinpath(*module.split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def helpers(module: str, seen: set[str] | None = None) -> set[str]:
    """A command's module, and those that it hands its arguments on to."""
    seen = {module} if seen is None else seen | {module}
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(HELPERS):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                path = ROOT.joinpath(*name.split("."))
                if name not in seen and path.with_suffix(".py").is_file():
                    seen |= helpers(name, seen)
    return seen


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What a parser and its subcommands take, one entry each."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield action
            for subparser in action.choices.values():
                yield from actions(subparser)
        elif not isinstance(action, argparse._HelpAction):
            yield action


def configurations() -> list[type]:
    from narvl.criterions.query_cross_entropy import QueryCrossEntropyConfig
    from narvl.criterions.query_ctc import QueryCTCConfig
    from narvl.models._config import NARVLConfig, OFAConfig
    from narvl.tasks._base import VisionLanguageConfig
    from narvl.tasks.captioning import CaptioningConfig
    from narvl.tasks.entailment import EntailmentConfig
    from narvl.tasks.grounding import GroundingConfig
    from narvl.tasks.vqa import VQAConfig

    return [
        *(OFAConfig, NARVLConfig, VisionLanguageConfig),
        *(CaptioningConfig, VQAConfig, GroundingConfig, EntailmentConfig),
        *(QueryCTCConfig, QueryCrossEntropyConfig),
    ]


@pytest.fixture(scope="module")
def commands() -> dict[str, argparse.ArgumentParser]:
    [subparsers] = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return subparsers.choices


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_its_options(commands: dict[str, argparse.ArgumentParser], command: str) -> None:
    taken = {action.dest for action in actions(commands[command])}
    assert taken
    read = set().union(*(read_from(parse(module), "args") for module in helpers(f"narvl.commands.{command}")))
    assert taken <= read, f"narvl {command} takes but never reads: {sorted(taken - read)}"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_explains_its_options(commands: dict[str, argparse.ArgumentParser], command: str) -> None:
    module = importlib.import_module(f"narvl.commands.{command}")
    assert module.HELP and module.__doc__
    silent = [
        action.dest
        for action in actions(commands[command])
        if not isinstance(action, argparse._SubParsersAction) and not action.help
    ]
    assert not silent, f"narvl {command}: no help for {silent}"


def test_every_configuration_is_known() -> None:
    """fairseq's registries hold no configuration of ours that the tests below leave out."""
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    known = configurations()
    registries = (CRITERION_DATACLASS_REGISTRY, MODEL_DATACLASS_REGISTRY, TASK_DATACLASS_REGISTRY)
    registered = {config for registry in registries for config in registry.values()}
    ours = {config for config in registered if config.__module__.startswith("narvl.")}
    assert ours and ours <= set(known)


@pytest.mark.parametrize("index", range(len(configurations())), ids=lambda index: configurations()[index].__name__)
def test_every_field_is_read_and_explained(index: int) -> None:
    config = configurations()[index]
    fields = [field for field in dataclasses.fields(config) if field.name != "_name"]
    assert fields
    read = set().union(*(read_from(ast.parse(path.read_text()), "cfg") for path in PACKAGE.rglob("*.py")))
    assert {field.name for field in fields} <= read, f"never read: {sorted({field.name for field in fields} - read)}"
    assert not [field.name for field in fields if not field.metadata.get("help")]


def test_the_reader_finds_what_is_read_and_nothing_else() -> None:
    tree = ast.parse("cfg.width; self.cfg.depth + 1; cfg.written = 2; other.height; config.name")
    assert read_from(tree, "cfg") == {"width", "depth"}


@pytest.mark.parametrize(
    ("parser", "flags"),
    [
        (
            options.get_training_parser,
            ["--num-queries", "--references", "--reference-temperature", "--label-smoothing"],
        ),
        (options.get_generation_parser, ["--ctc-beam", "--ar-search", "--inference-precision"]),
    ],
)
def test_help_names_the_flags_of_task_model_and_criterion(
    parser: Callable[..., Any], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--task", "captioning", "--help"]
    if parser is options.get_training_parser:
        given += ["--arch", "narvl_base", "--criterion", "query_ctc"]
    with pytest.raises(SystemExit) as stopped:
        options.parse_args_and_arch(parser(), given)
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n  {flag} " in said for flag in flags), said

"""Fixtures that tests of several parts share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine stands still for a moment now and then: how long an example takes says nothing about it.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden values and real photos, beside the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("NARVL_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"needs golden values and photos in {folder} (NARVL_SHARED names another folder)")
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder of embedded scenes: 40 training scenes, 12 for validation, 10 for test."""
    from narvl.scenes.write import Plan, write_scenes

    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(Plan(scenes=(40, 12, 10), seed=3), folder)
    return folder


@pytest.fixture(scope="session")
def build() -> Callable[..., tuple[Any, Any, Any]]:
    """Build (task, model, criterion) as fairseq-train does: ``build(data, arch, *flags)``."""

    def make(data: Path, arch: str, *flags: str) -> tuple[Any, Any, Any]:
        from fairseq import options, tasks
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        import narvl  # noqa: F401

        criterion = "query_ctc" if arch.startswith("narvl") else "label_smoothed_cross_entropy"
        args = options.parse_args_and_arch(
            options.get_training_parser(),
            [str(data), "--task", "captioning", "--arch", arch, "--criterion", criterion, *flags],
        )
        cfg = convert_namespace_to_omegaconf(args)
        task = tasks.setup_task(cfg.task)
        return task, task.build_model(cfg.model), task.build_criterion(cfg.criterion)

    return make

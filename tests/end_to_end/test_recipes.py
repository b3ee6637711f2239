"""Every recipe of configs/: fairseq takes each of its flags, and its model can be built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(str(path.relative_to(ROOT / "configs").with_suffix("")) for path in (ROOT / "configs").rglob("*_*.sh"))
TRAIN = ("task", "model", "criterion", "optimizer", "schedule", "training", "device", "checkpoint", "logging")
GENERATE = ("task", "generation", "device")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def flags(recipe: str, parts: tuple[str, ...]) -> list[str]:
    """The words of a recipe's arrays, as run_scripts/train.sh and generate.sh put them together."""
    arrays = " ".join(f'"${{{part}[@]}}"' for part in parts)
    script = f'set -eu; source run_scripts/env.sh; load_recipe "$1"; printf "%s\\0" {arrays}'
    done = subprocess.run(["bash", "-c", script, "bash", recipe], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_the_scripts_use_these_arrays() -> None:
    for script, parts in (("train.sh", TRAIN), ("generate.sh", GENERATE)):
        text = (ROOT / "run_scripts" / script).read_text()
        for part in parts:
            assert f'"${{{part}[@]}}"' in text, (script, part)
        assert text.count("[@]}") == len(parts), script


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_recipe(recipe: str, scenes: Path, tmp_path: Path) -> None:
    import torch
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import narvl  # noqa: F401

    words = flags(recipe, TRAIN)
    parser = options.get_training_parser()
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(parser, [str(scenes), *words, "--save-dir", str(tmp_path)])
    )
    assert cfg.optimization.max_update or cfg.optimization.max_epoch, "training must end"
    assert cfg.dataset.batch_size or cfg.dataset.max_tokens
    task = tasks.setup_task(cfg.task)
    with torch.device("meta"):  # shapes alone: the large models need no memory
        model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    parallel = cfg.model._name.startswith("narvl")
    assert hasattr(model, "blank") == hasattr(criterion, "alignment") == parallel


@pytest.mark.parametrize("recipe", RECIPES)
def test_generation_recipe(recipe: str, scenes: Path) -> None:
    from fairseq import options

    import narvl  # noqa: F401

    words = flags(recipe, GENERATE)
    args = options.parse_args_and_arch(options.get_generation_parser(), [str(scenes), *words, "--path", "x.pt"])
    assert args.task == "captioning"
    assert args.batch_size or args.max_tokens

"""Every recipe of configs/: fairseq takes its flags, its model can be built, and it says what the paper says."""

from __future__ import annotations

import contextlib
import io
import subprocess
from argparse import Namespace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("captioning", "vqa", "grounding", "entailment")
SIZES = ("tiny", "base", "large", "huge")
TRAIN = tuple("task model criterion optimizer averaging schedule training device checkpoint logging".split())
GENERATE = ("task", "generation", "device")
PUBLISHED = [f"{task}/{family}_{size}" for task in TASKS for family in ("ofa", "narvl") for size in SIZES]

#: The paper's settings: queries, epochs, effective batch, learning rate, warm-up ratio, label smoothing, image side.
PAPER = {
    "captioning": (20, 5, 128, 1e-5, 0.06, 0.1, 480),
    "vqa": (6, 10, 512, 5e-5, 0.04, 0.1, 480),
    "grounding": (5, 10, 128, 5e-5, 0.06, 0.1, 512),
    "entailment": (2, 5, 256, 5e-5, 0.06, 0.0, 480),
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def bash(script: str, *words: str) -> str:
    """What a piece of bash says that has the scripts' functions."""
    argv = ["bash", "-c", f"set -eu; source run_scripts/env.sh; {script}", "bash", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


NAMES = bash("recipe_names").split()


@cache
def recipe(name: str, *more: str) -> dict[str, list[str]]:
    """A recipe's arrays, and its numbers that are no flags."""
    names = sorted({*TRAIN, *GENERATE, "effective_batch", "warmup_ratio"})
    show = 'eval "words=(\\"\\${$part[@]}\\")"; printf "%s\\0" "$part" "${#words[@]}" "${words[@]}"'
    script = f"warmup_ratio=''; load_recipe \"$@\"; for part in {' '.join(names)}; do {show}; done"
    words = iter(bash(script, name, *more).split("\0"))
    return {part: [next(words) for _ in range(int(next(words)))] for part in words if part}


def flags(name: str, parts: tuple[str, ...]) -> list[str]:
    """The words of a recipe's arrays, as run_scripts/train.sh and generate.sh put them together."""
    return [word for part in parts for word in recipe(name)[part]]


@cache
def training_configuration(name: str, data: Path, *more: str) -> Any:
    """What fairseq makes of a recipe's flags, and of what train.sh works out where the recipe leaves it open."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import narvl  # noqa: F401
    from narvl.cli import main

    words = [str(data), *flags(name, TRAIN), *more]
    if batch := recipe(name)["effective_batch"][0]:
        length = ["--effective-batch", batch, "--warmup-ratio", *recipe(name)["warmup_ratio"], "--processes", "8"]
        with contextlib.redirect_stdout(io.StringIO()) as planned:
            status = main(["schedule", "--data", str(data), "--task", name.split("/")[0], *length, "--", *words[1:]])
        assert status == 0
        words += planned.getvalue().splitlines()[1:]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), words))


def generation_arguments(name: str) -> Namespace:
    from fairseq import options

    import narvl  # noqa: F401

    words = ["DATA", *flags(name, GENERATE), "--path", "x.pt", "--distributed-world-size", "1"]
    return options.parse_args_and_arch(options.get_generation_parser(), words)


def test_every_size_of_every_task_has_a_recipe() -> None:
    assert set(PUBLISHED) < set(NAMES)
    assert len(NAMES) == len(set(NAMES))
    files = {str(path.relative_to(ROOT / "configs").with_suffix("")) for path in (ROOT / "configs").rglob("*_*.sh")}
    assert set(NAMES) == files | set(PUBLISHED)


def test_the_scripts_use_these_arrays() -> None:
    for script, parts in (("train.sh", TRAIN), ("generate.sh", GENERATE)):
        text = (ROOT / "run_scripts" / script).read_text()
        for part in parts:
            assert f'"${{{part}[@]}}"' in text, (script, part)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains(name: str, scenes: Path) -> None:
    import torch
    from fairseq import tasks

    from narvl.models._config import PRESETS

    cfg = training_configuration(name, scenes)
    assert cfg.optimization.max_update or cfg.optimization.max_epoch, "training must end"
    if batch := recipe(name)["effective_batch"][0]:
        assert 8 * cfg.dataset.batch_size * cfg.optimization.update_freq[0] == int(batch)
    assert cfg.dataset.batch_size
    assert cfg.lr_scheduler.total_num_update > 0
    task = tasks.setup_task(cfg.task)
    assert cfg.task._name == name.split("/")[0]
    assert cfg.checkpoint.best_checkpoint_metric in ("loss", task.metric)
    assert cfg.checkpoint.maximize_best_checkpoint_metric == (cfg.checkpoint.best_checkpoint_metric == task.metric)
    with torch.device("meta"):  # shapes alone: the large models need no memory
        model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    family, size = name.split("/")[1].split("_")
    assert hasattr(model, "blank") == hasattr(criterion, "alignment") == (family == "narvl")
    if family == "narvl":
        assert criterion.alignment == model.alignment
    if size in PRESETS:
        assert cfg.model.embed_dim == PRESETS[size]["embed_dim"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_decodes(name: str) -> None:
    args = generation_arguments(name)
    assert args.task == name.split("/")[0]
    assert args.batch_size
    assert args.distributed_world_size == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_recipes_say_what_the_paper_says(task: str, size: str, scenes: Path) -> None:
    queries, epochs, batch, lr, warmup, smoothing, side = PAPER[task]
    for name in (f"{task}/narvl_{size}", f"{task}/ofa_{size}"):
        cfg = training_configuration(name, scenes)
        assert (cfg.optimization.max_epoch, cfg.optimization.lr) == (epochs, [lr])
        assert recipe(name)["effective_batch"] == [str(batch)]
        assert [float(number) for number in recipe(name)["warmup_ratio"]] == [warmup]
        assert cfg.criterion.label_smoothing == smoothing
        assert cfg.task.patch_image_size == side
        assert cfg.lr_scheduler._name == "polynomial_decay" and cfg.lr_scheduler.end_learning_rate == 0
        adam = (cfg.optimizer._name, cfg.optimizer.adam_betas, cfg.optimizer.adam_eps, cfg.optimizer.weight_decay)
        assert adam == ("adam", "(0.9, 0.999)", 1e-8, 0.01)
        assert cfg.optimization.clip_norm == 1.0
        model = cfg.model
        assert (model.dropout, model.attention_dropout, model.resnet_drop_path_rate) == (0.1, 0, 0)
        assert (model.encoder_drop_path_rate, model.decoder_drop_path_rate) == (0.1, 0.1)
        assert cfg.common.fp16
        assert cfg.ema.store_ema == cfg.ema.ema_fp32 == (task == "vqa")
        assert cfg.ema.ema_decay == 0.9999
        if task == "captioning":
            assert cfg.task.max_tgt_words == 20
        else:
            assert cfg.task.max_src_words == 80
    assert training_configuration(f"{task}/narvl_{size}", scenes).model.num_queries == queries


def test_the_tasks_differ_where_the_paper_says_so(scenes: Path) -> None:
    teachers = {task: generation_arguments(f"{task}/ofa_base") for task in TASKS}
    assert {teacher.beam for teacher in teachers.values()} == {5}
    assert (teachers["captioning"].max_len_b, teachers["captioning"].no_repeat_ngram_size) == (16, 3)
    assert {task for task, teacher in teachers.items() if teacher.unnormalized} == {"vqa", "entailment"}
    cfgs = {task: training_configuration(f"{task}/ofa_base", scenes) for task in TASKS}
    assert {task for task, cfg in cfgs.items() if cfg.criterion._name == "weighted_cross_entropy"} == {"vqa"}
    assert {task for task, cfg in cfgs.items() if cfg.model.freeze_embedding} == {"captioning", "vqa"}
    assert cfgs["vqa"].task.add_objects and cfgs["entailment"].task.add_caption
    assert cfgs["grounding"].task.max_image_size == 512
    for task in ("captioning", "vqa", "entailment"):
        cfg = training_configuration(f"{task}/narvl_base", scenes)
        assert (cfg.criterion._name, cfg.model.alignment) == ("query_ctc", "ctc")


def test_grounding_takes_the_papers_loss(scenes: Path) -> None:
    cfg = training_configuration("grounding/narvl_base", scenes, "--alignment", "ctc", "--criterion", "query_ctc")
    assert (cfg.model.alignment, cfg.criterion._name, cfg.criterion.label_smoothing) == ("ctc", "query_ctc", 0.1)


def test_half_precision_is_for_gpus() -> None:
    assert "--fp16" in recipe("vqa/narvl_base")["device"]
    assert recipe("vqa/narvl_base", "--cpu")["device"] == ["--cpu"]
    assert recipe("vqa/narvl_nano")["device"] == ["--cpu"]


def test_an_unknown_recipe_is_answered_with_all_names() -> None:
    for name in ("captioning/narvl_giant", "vqa", "vqa/paper", "vqa/.*_base"):
        argv = ["bash", "-c", 'source run_scripts/env.sh; load_recipe "$1"', "bash", name]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2, name
        first, *listed = done.stderr.split("\n")
        assert first == f"no recipe {name}; there are:"
        assert [line.strip() for line in listed if line] == NAMES

"""From captions to a plain model that learned without a teacher, by the commands of docs/references.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = ("--references", "all")
CONDITIONED = ("--intermediate-layers", "1", "--self-conditioned-layers", "1")


@pytest.fixture(scope="module")
def grouped(quick: Callable, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grouped")
    quick("narvl", "group", "--data", scenes, "--out", out)
    return out


@pytest.fixture(scope="module")
def train(quick: Callable, train_flags: list, adam: list) -> Callable:
    """Train: ``train(data, save_dir, updates, flags...)``."""

    def run(data: Path, save_dir: Path, updates: int, *flags: object, fails: bool = False) -> object:
        model = ["--arch", "narvl_nano", "--criterion", "query_ctc", "--label-smoothing", 0.1, "--num-queries", 18]
        length = ["--batch-size", 4, "--max-update", updates, "--required-batch-size-multiple", 1]
        words = ["fairseq-train", data, *train_flags, *adam, *model, *length, "--save-dir", save_dir, *flags]
        return quick(*words, fails=fails)

    return run


@pytest.fixture(scope="module")
def conditioned(train: Callable, grouped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conditioned")
    found = train(grouped, folder, 2, *REFERENCES, *CONDITIONED)
    assert all("unreachable_references" in record for record in found.records("train_inner"))
    return folder


def test_a_plain_model_learns_the_texts_of_the_self_conditioned_one(
    train: Callable, quick: Callable, task_flags: list, scenes: Path, conditioned: Path, tmp_path: Path
) -> None:
    texts, plain, checkpoint = tmp_path / "texts", tmp_path / "plain", tmp_path / "teacher.pt"
    teacher = torch.load(conditioned / "checkpoint_last.pt", weights_only=True)
    teacher["model"]["decoder.blank_embed.weight"].zero_()  # so little trained, it says nothing but the blank
    torch.save(teacher, checkpoint)
    quick("narvl", "distill", "rows", "--data", scenes, "--out", texts)
    flags = ["--patch-image-size", 64, "--code-dict-size", 0, "--num-bins", 64, "--cpu", "--num-workers", 0]
    quick("narvl", "distill", "decode", "--out", texts, "--", "--path", checkpoint, *flags, "--max-len-b", 24)
    quick("narvl", "distill", "targets", "--out", texts)
    assert (texts / "train.tsv").read_text() != (texts / "teacher.tsv").read_text()
    train(texts, plain, 1, "--finetune-from-model", checkpoint)
    state = torch.load(plain / "checkpoint_last.pt", weights_only=True)["model"]
    assert not [name for name in state if "condition" in name]
    before = torch.load(checkpoint, weights_only=True)["model"]
    moved = (state["decoder.query_embed.weight"] - before["decoder.query_embed.weight"]).abs().max()
    assert 0 < moved < 0.05, "it went on from the weights"
    results = ["--gen-subset", "test", "--results-path", tmp_path]
    quick("fairseq-generate", scenes, *task_flags, "--path", plain / "checkpoint_last.pt", *results)
    assert (tmp_path / "generate-test.txt").read_text().count("\nD-") > 0


def test_it_goes_on_with_the_flags_that_it_was_begun_with(train: Callable, grouped: Path, conditioned: Path) -> None:
    refused = train(grouped, conditioned, 3, *REFERENCES, fails=True)
    assert "of a model with other parameters. Give the flags that it was begun with" in refused.err
    found = train(grouped, conditioned, 3, *REFERENCES, *CONDITIONED)
    assert [record["num_updates"] for record in found.records("train_inner")] == ["3"]


def test_rows_of_one_caption_are_refused(train: Callable, scenes: Path, tmp_path: Path) -> None:
    refused = train(scenes, tmp_path, 1, *REFERENCES, fails=True)
    assert "train.tsv: --references all, but none of 50 rows from all over it has more than one caption" in refused.err


def test_the_last_updates_learn_pairs(train: Callable, grouped: Path, tmp_path: Path) -> None:
    flags = (*REFERENCES, "--label-smoothing", 0)
    found = [train(grouped, tmp_path / str(after), 3, *flags, "--pairs-after", after) for after in (0, 2)]
    plain, late = ([float(record["loss"]) for record in run.records("train_inner")] for run in found)
    assert late[:2] == plain[:2]
    assert late[2] < 1.45 < plain[2], "1 less F1 is at most 1 nat, 1.44 bits"


@pytest.mark.parametrize("lead", ["codes", "glancing", "short_first"])
def test_the_leads_of_the_ablation_train_to_their_end_and_are_decoded(
    lead: str, train: Callable, quick: Callable, task_flags: list, grouped: Path, scenes: Path, tmp_path: Path
) -> None:
    leads = ROOT / "benchmarks" / "leads"
    shorter = tmp_path / "shorter"  # the same lead, in a training of two updates, and one beyond
    shorter.mkdir()
    setting = f"import sys\nsys.path.insert(0, {str(leads)!r})\nimport progress\n"
    setting += f"progress.SCENES_UPDATES = 2\nimport {lead}\n"
    (shorter / "__init__.py").write_text(setting)
    flags = (*REFERENCES, "--label-smoothing", 0)
    found = train(grouped, tmp_path, 3, *flags, "--user-dir", shorter)
    plain, logged = train(grouped, tmp_path / "plain", 1, *flags), found.records("train_inner")
    losses = [float(record["loss"]) for record in logged]
    assert len(losses) == 3 and all(0 < loss < 100 for loss in losses)
    assert losses[0] != float(plain.records("train_inner")[0]["loss"])
    alone = ["unreachable_references" not in record for record in logged]  # told of samples with several references
    assert alone == ([True, False, False] if lead == "short_first" else [False] * 3)
    results = ["--gen-subset", "test", "--results-path", tmp_path, "--user-dir", leads / lead]
    quick("fairseq-generate", scenes, *task_flags, "--path", tmp_path / "checkpoint_last.pt", *results)
    assert (tmp_path / "generate-test.txt").read_text().count("\nD-") > 0

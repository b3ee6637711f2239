"""``narvl schedule``: what it reads from fairseq-train's flags, and what it adds to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from narvl.cli import main

RECIPE = ["--batch-size", "16", "--lr", "1e-5", "--adam-betas", "(0.9, 0.999)", "--max-epoch", "5", "--fp16"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "train.tsv").write_text("0\t0\ta cat\t\timage\n" * 1000)
    (tmp_path / "train_few.tsv").write_text("0\t0\ta cat\t\timage\n" * 10)
    return tmp_path


@pytest.fixture
def schedule(data: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*words: str, processes: int = 8) -> tuple[str, dict[str, str]]:
        recipe = ["--task", "captioning", "--effective-batch", "128", "--warmup-ratio", "0.06"]
        argv = ["schedule", "--data", str(data), *recipe, "--processes", str(processes), "--", *RECIPE, *words]
        status = main(argv)
        out, err = capsys.readouterr()
        if status:
            return err, {}
        line, *flags = out.splitlines()
        return line, dict(zip(flags[::2], flags[1::2], strict=True))

    return call


def test_the_plan_and_its_flags(schedule) -> None:  # type: ignore[no-untyped-def]
    line, flags = schedule()
    assert line == "40 updates of 128 samples (8 GPUs x 16 x 1), 2 of them warm-up"
    assert flags == {
        "--batch-size": "16",
        "--required-batch-size-multiple": "1",
        "--update-freq": "1",
        "--total-num-update": "40",
        "--warmup-updates": "2",
    }


@pytest.mark.parametrize(
    ("words", "processes", "line"),
    [
        ([], 1, "40 updates of 128 samples (1 GPU x 16 x 8), 2 of them warm-up"),
        (["--cpu"], 2, "40 updates of 128 samples (2 CPU processes x 16 x 4), 2 of them warm-up"),
        (["--max-epoch", "12"], 8, "96 updates of 128 samples (8 GPUs x 16 x 1), 6 of them warm-up"),
        (["--max-update=10"], 8, "10 updates of 128 samples (8 GPUs x 16 x 1), 1 of them warm-up"),
        (["--max-sentences", "4"], 8, "40 updates of 128 samples (8 GPUs x 4 x 4), 2 of them warm-up"),
        (["--warmup-updates", "0"], 8, "40 updates of 128 samples (8 GPUs x 16 x 1), 0 of them warm-up"),
        (["--total-num-update", "9000"], 8, "9,000 updates of 128 samples (8 GPUs x 16 x 1), 540 of them warm-up"),
        (["--train-subset", "train_few"], 8, "5 updates of 128 samples (8 GPUs x 16 x 1), 0 of them warm-up"),
        (
            ["--batch-size", "24"],
            8,
            "40 updates of 128 samples (8 GPUs x 16 x 1), 2 of them warm-up; 24 a GPU cannot make up 128, 16 can",
        ),
        (
            ["--batch-size", "24", "--update-freq", "2"],
            3,
            "35 updates of 144 samples (3 GPUs x 24 x 2), 2 of them warm-up; "
            "--update-freq replaces the recipe's 128 samples",
        ),
    ],
)
def test_the_users_flags_count(schedule, words: list[str], processes: int, line: str) -> None:  # type: ignore[no-untyped-def]
    assert schedule(*words, processes=processes)[0] == line


@pytest.mark.parametrize(
    ("words", "processes", "message"),
    [
        (["--max-tokens", "4000"], 8, "--max-tokens: the recipe's batches are counted in samples. Give --batch-size."),
        (["--update-freq", "4,2"], 8, "--update-freq 4,2: with this recipe, give one whole number from 1."),
        (["--batch-size", "0"], 8, "--batch-size 0: with this recipe"),
        ([], 6, "an effective batch of 128 cannot be shared by 6 GPUs. Take 4"),
        ([], 0, "--processes 0: give at least 1."),
        (["--train-subset", "absent"], 8, "absent.tsv: no such file"),
    ],
)
def test_what_does_not_fit_is_refused(schedule, words: list[str], processes: int, message: str) -> None:  # type: ignore[no-untyped-def]
    error, flags = schedule(*words, processes=processes)
    assert message in error
    assert not flags

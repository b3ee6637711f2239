"""Distillation in shards, one of them killed and started again, gives the training file of one undisturbed run."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

NUM_SHARDS, KILLED = 4, 2
DECODING = ["--beam", 2, "--max-len-b", 4, "--batch-size", 25]
#: Runs ``narvl distill decode``, killed in the middle of the line that is the given one of those it writes.
KILL = """
import io, os, signal, sys
import narvl.cli

class Killed(io.TextIOWrapper):
    left = int(sys.argv[1])

    def write(self, text):
        Killed.left -= text != "\\n"
        if not Killed.left:
            super().write(text[: len(text) // 2])
            self.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(text)

io.TextIOWrapper = Killed
sys.exit(narvl.cli.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module", params=["captioning", "vqa"])
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def rows_of_task(task: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder of scenes for the task."""
    from narvl.scenes.write import Plan, write_scenes

    folder = tmp_path_factory.mktemp(task)
    write_scenes(Plan(task=task, scenes=(60, 2, 2), seed=5), folder)
    return folder


@pytest.fixture(scope="module")
def decoding(rows_of_task: Path, task: str, quick: Callable, train_flags: list, adam: list) -> list[object]:
    """fairseq-generate's flags for a teacher of random weights, so large that the image decides what it says."""
    import narvl  # noqa: F401

    flags = [*train_flags, "--task", task]
    length = ["--batch-size", 2, "--max-update", 1, "--disable-validation", "--no-save-optimizer-state"]
    model = ["--arch", "ofa_nano", "--criterion", "label_smoothed_cross_entropy", "--save-dir", rows_of_task]
    quick("fairseq-train", rows_of_task, *flags, *adam, *model, *length)
    state = torch.load(rows_of_task / "checkpoint_last.pt", weights_only=True)
    for name, weights in state["model"].items():
        if name.startswith("decoder") and weights.dim() == 2 and "embed" not in name:
            weights *= 4
    torch.save(state, rows_of_task / "teacher.pt")
    image = ["--patch-image-size", 64, "--code-dict-size", 0, "--num-bins", 64]
    return ["--path", rows_of_task / "teacher.pt", *image, "--cpu", "--num-workers", 0, *DECODING]


@pytest.fixture
def data(rows_of_task: Path, task: str, make_data: Callable, tmp_path: Path) -> Callable[[int], Path]:
    """Make a data folder of ``count`` training rows, each with an id and an image id of its own."""

    def make(count: int) -> Path:
        rows = [line.split("\t") for line in (rows_of_task / "train.tsv").read_text().splitlines()]
        train = [[f"{index}", f"im{index}", *rows[index * 7 % len(rows)][2:]] for index in range(count)]
        folder = make_data(tmp_path / "data", train=train, valid=rows[:2])
        for name in ("encoder.json", "vocab.bpe", "dict.txt"):  # each task has a BPE of its own
            (folder / name).write_bytes((rows_of_task / name).read_bytes())
        return folder

    return make


@pytest.mark.parametrize("count", [122, pytest.param(1002, marks=pytest.mark.slow)])  # shards of two sizes
def test_four_shards_one_killed_are_one_run(
    count: int, task: str, data: Callable, decoding: list, run: Callable, quick: Callable, tmp_path: Path
) -> None:
    source = data(count)
    one, four, plain = (tmp_path / name for name in ("one", "four", "plain"))
    choices = ["--confidence"] if task == "vqa" else []
    for out in (one, four, plain):
        assert f"{count} " in quick("narvl", "distill", "rows", "--task", task, "--data", source, "--out", out).out

    whole = quick("narvl", "distill", "decode", "--out", one, "--", *decoding)
    assert f"{count} of {count} rows decoded: {one / 'shards' / '0-of-1.txt'}" in whole.out
    quick("narvl", "distill", "targets", "--out", one, *choices)

    def shard(shard_id: int) -> list[object]:
        return ["distill", "decode", "--out", four, "--shard-id", shard_id, "--num-shards", NUM_SHARDS, "--", *decoding]

    for shard_id in (3, 0, 1):
        quick("narvl", *shard(shard_id))
    of_shard = count // NUM_SHARDS
    middle = 5 * (of_shard // 2) + 4  # a D- line: each row writes S-, T-, H-, D-, P-
    killed = run(sys.executable, "-c", KILL, middle, *shard(KILLED), fails=True)
    assert killed.status == -signal.SIGKILL
    results = four / "shards" / f"{KILLED}-of-{NUM_SHARDS}.txt"
    left = results.read_text()
    assert left.count("\nP-") == of_shard // 2
    assert not left.endswith("\n")
    unfinished = quick("narvl", "distill", "targets", "--out", four, fails=True)
    missing = of_shard - of_shard // 2
    assert f"{missing} of {count} rows are missing" in unfinished.last_line
    assert f"--shard-id {KILLED} --num-shards {NUM_SHARDS} -- " in unfinished.last_line
    assert not (four / "train.tsv").exists()

    again = quick("narvl", *shard(KILLED))
    assert f"{of_shard} of {of_shard} rows decoded" in again.out
    assert results.read_text().startswith(left[: left.rindex("\nP-")]), "what was decoded is kept"
    assert results.read_text().count("\nS-") == of_shard
    quick("narvl", "distill", "targets", "--out", four, *choices)

    lines = (four / "train.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(index) for index in range(count)]
    assert (four / "train.tsv").read_bytes() == (one / "train.tsv").read_bytes()
    column = 2 if task == "captioning" else 3
    texts = {line.split("\t")[column] for line in lines}
    assert len(texts) > 15, "the texts tell the rows apart"
    if task == "vqa":
        confidences = [float(text.partition("|!+")[0]) for text in texts]
        assert all(0 < confidence <= 1 for confidence in confidences)

    # fairseq-generate's own results are as good.
    task_flags = ["--user-dir", Path(__file__).resolve().parents[2] / "narvl", "--task", task]
    quick("fairseq-generate", plain, *task_flags, *decoding, "--gen-subset", "teacher", "--results-path", plain)
    quick("narvl", "distill", "targets", "--out", plain, "--results", plain / "generate-teacher.txt", *choices)
    assert (plain / "train.tsv").read_bytes() == (one / "train.tsv").read_bytes()


def test_bad_images_are_left_out_and_counted(
    task: str, data: Callable, decoding: list, quick: Callable, tmp_path: Path
) -> None:
    source, out = data(8), tmp_path / "out"
    lines = (source / "train.tsv").read_text().splitlines()
    for index in (2, 5):
        lines[index] = lines[index].rpartition("\t")[0] + "\t!"
    (source / "train.tsv").write_text("\n".join(lines) + "\n")
    quick("narvl", "distill", "rows", "--task", task, "--data", source, "--out", out)
    decode = ["narvl", "distill", "decode", "--out", out, "--", *decoding]
    stopped = quick(*decode, fails=True)
    assert re.search(r"error: .*teacher\.tsv, row 3: .*--skip-bad-rows", stopped.last_line)
    for _ in range(2):
        assert "6 of 8 rows decoded" in quick(*decode, "--skip-bad-rows").out
    refused = quick("narvl", "distill", "targets", "--out", out, fails=True)
    assert "2 of 8 rows are missing (first: 3, 6)" in refused.last_line
    done = quick("narvl", "distill", "targets", "--out", out, "--drop-missing").out
    assert done.startswith("6 targets: ")
    assert "2 rows dropped: no result" in done
    assert (out / "train.tsv").read_text().count("\n") == 6

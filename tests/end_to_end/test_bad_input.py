"""Bad input ends in one clear last line that names file and row, or flag; ``--skip-bad-rows`` leaves bad rows out."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest

CAPTION, IMAGE = 2, 4


def missing_column(row: list[str]) -> list[str]:
    return row[:3] + row[4:]


def broken_base64(row: list[str]) -> list[str]:
    return [*row[:IMAGE], "!" + row[IMAGE]]


def truncated_image(row: list[str]) -> list[str]:
    data = base64.urlsafe_b64decode(row[IMAGE])
    return [*row[:IMAGE], base64.urlsafe_b64encode(data[: len(data) // 2]).decode()]


def no_image(row: list[str]) -> list[str]:
    return [*row[:IMAGE], base64.urlsafe_b64encode(b"<html>404 not found</html>").decode()]


def empty_caption(row: list[str]) -> list[str]:
    return [*row[:CAPTION], " ", *row[CAPTION + 1 :]]


def punctuation(row: list[str]) -> list[str]:
    return [*row[:CAPTION], "...!", *row[CAPTION + 1 :]]


#: Each damage, with what the message must say beside file and row.
DAMAGES = {
    missing_column: "4 columns, expected 5",
    broken_base64: "not base64",
    truncated_image: "truncated",
    no_image: "no format that is read here",
    empty_caption: "caption (column 3) is empty",
    punctuation: "nothing but punctuation",
}
#: Damages that matter where a caption is needed alone.
UNLABELLED = {empty_caption, punctuation}
UNREADABLE = [damage for damage in DAMAGES if damage not in UNLABELLED]
MODELS = {
    "ofa": ["--arch", "ofa_nano", "--criterion", "label_smoothed_cross_entropy"],
    "narvl": ["--arch", "narvl_nano", "--criterion", "query_ctc"],
}
BATCHES = ["--required-batch-size-multiple", 1, "--batch-size"]


@pytest.fixture(scope="module")
def checkpoint(
    quick: Callable,
    rows: list,
    make_data: Callable,
    train_flags: list,
    adam: list,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkpoint of narvl_nano."""
    folder = tmp_path_factory.mktemp("model")
    data = make_data(folder / "data", train=rows[:2])
    length = [*BATCHES, 2, "--max-update", 1, "--disable-validation", "--no-save-optimizer-state"]
    quick("fairseq-train", data, *train_flags, *adam, *MODELS["narvl"], *length, "--save-dir", folder)
    return folder / "checkpoint_last.pt"


@pytest.fixture
def train(quick: Callable, train_flags: list, adam: list, tmp_path: Path) -> Callable:
    """Train a nano model for two updates: ``train(data, model, flags...)``."""

    def call(data: Path, model: str, *flags: object, runner: Callable = quick, fails: bool = False):
        common = [*train_flags, *adam, *MODELS[model], *BATCHES, 2, "--max-update", 2, "--save-dir", tmp_path / "run"]
        return runner("fairseq-train", data, *common, *flags, fails=fails)

    return call


@pytest.fixture
def generate(quick: Callable, task_flags: list, tmp_path: Path, checkpoint: Path) -> Callable:
    """Decode the test split: ``generate(data, flags...)``."""

    def call(data: Path, *flags: object, runner: Callable = quick, fails: bool = False):
        common = [*task_flags, "--path", checkpoint, "--results-path", tmp_path / "out", *BATCHES, 2]
        return runner("fairseq-generate", data, *common, *flags, fails=fails)

    return call


def assert_says(line: str, *parts: object) -> None:
    """One line that names all of ``parts``, after the command's name."""
    assert re.match(r"fairseq-\w+: error: ", line), line
    for part in parts:
        assert str(part) in line, line


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_bad_row_is_named(
    damage: Callable, train: Callable, generate: Callable, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    bad = [*rows[:3], damage(rows[3]), rows[4]]
    data = make_data(tmp_path / "data", train=bad, valid=rows[:2], test=bad)
    assert_says(
        train(data, "ofa", fails=True).last_line, f"{data / 'train.tsv'}, row 4: ", DAMAGES[damage], "--skip-bad-rows"
    )
    done = generate(data, fails=damage not in UNLABELLED)
    if damage in UNLABELLED:  # what nobody has captioned can be decoded
        assert len(re.findall(r"^D-", (tmp_path / "out" / "generate-test.txt").read_text(), re.MULTILINE)) == 5
    else:
        assert_says(done.last_line, f"{data / 'test.tsv'}, row 4: ", DAMAGES[damage], "--skip-bad-rows")


def test_a_bad_row_met_by_a_worker_is_named(
    run: Callable, generate: Callable, train: Callable, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    bad = [*rows[:5], truncated_image(rows[5])]
    data = make_data(tmp_path / "data", train=rows[:2], valid=bad, test=bad)
    for split, done in (
        ("valid", train(data, "narvl", "--num-workers", 2, runner=run, fails=True)),
        ("test", generate(data, "--num-workers", 2, runner=run, fails=True)),
    ):
        assert_says(done.last_line, data / f"{split}.tsv, row 6: ", "truncated", "--skip-bad-rows")


def test_missing_files_are_named(
    train: Callable, generate: Callable, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    data = make_data(tmp_path / "data", train=rows[:2])
    (data / "test.tsv").touch()
    assert_says(train(data, "ofa", fails=True).last_line, data / "valid.tsv", "no such file")
    assert_says(generate(data, fails=True).last_line, data / "test.tsv", "empty")
    empty = tmp_path / "empty"
    empty.mkdir()
    for done in (
        train(data, "ofa", "--bpe-dir", empty, fails=True),
        generate(data, "--bpe-dir", empty, fails=True),
        train(empty, "ofa", fails=True),
    ):
        assert_says(done.last_line, f"--bpe-dir {empty}", "encoder.json, vocab.bpe, dict.txt", "Give the folder")
    lost = tmp_path / "lost.pt"
    assert str(lost) in generate(data, "--path", lost, fails=True).last_line


def test_flags_that_do_not_fit_are_named(
    train: Callable, rows: list, make_data: Callable, checkpoint: Path, tmp_path: Path
) -> None:
    data = make_data(tmp_path / "data", train=rows[:12], valid=rows[:2])
    few = train(data, "narvl", "--num-queries", 2, "--batch-size", 8, fails=True)
    assert_says(few.last_line, "--num-queries 2", "Raise --num-queries")
    wrong = train(data, "narvl", "--criterion", "label_smoothed_cross_entropy", fails=True)
    assert_says(wrong.last_line, "--criterion", "--arch narvl_*", "query_ctc")
    wrong = train(data, "ofa", "--criterion", "query_ctc", fails=True)
    assert_says(wrong.last_line, "--criterion query_ctc", "--arch narvl_*")
    options = train(data, "ofa", "--valid-generation-args", "{beam: 1}", fails=True)
    assert_says(options.last_line, "--valid-generation-args", "JSON")


def test_a_checkpoint_that_does_not_fit_is_named(
    train: Callable, generate: Callable, rows: list, make_data: Callable, checkpoint: Path, tmp_path: Path
) -> None:
    data = make_data(tmp_path / "data", train=rows[:2], valid=rows[:2], test=rows[:2])
    restart = ["--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"]
    other = train(data, "narvl", "--arch", "narvl_tiny", "--restore-file", checkpoint, *restart, fails=True)
    assert str(checkpoint) in other.last_line
    assert "Give the --arch that the checkpoint was trained with" in other.err
    # A parallel model has queries and a blank, for which an autoregressive one has no place.
    other = train(data, "ofa", "--restore-file", checkpoint, *restart, fails=True)
    assert str(checkpoint) in other.last_line
    assert "query_embed" in other.err
    other = generate(data, "--num-bins", 7, fails=True)
    assert_says(other.last_line, "encoder.embed_tokens.weight", "--num-bins")


@pytest.mark.parametrize(("model", "workers"), [("narvl", 0), ("ofa", 2)])
def test_bad_rows_are_skipped_and_counted_in_training(
    model: str, workers: int, train: Callable, run: Callable, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    # At batch size 1 a bad row is a whole bad batch; the first one of validation is among them.
    bad = [damage(row) for damage, row in zip(DAMAGES, rows, strict=False)]
    data = make_data(tmp_path / "data", train=[*bad, *rows[6:10]], valid=[*bad, *rows[10:12]])
    flags = ["--skip-bad-rows", "--batch-size", 1, "--max-update", 20, "--num-workers", workers]
    done = train(data, model, *flags, **({"runner": run} if workers else {}))
    for split, count in (("train", 10), ("valid", 8)):
        named = re.findall(rf"skipped \((\d) of {count} rows so far\): {data / split}\.tsv, row (\d+): ", done.out)
        assert sorted(int(row) for _, row in named) == [1, 2, 3, 4, 5, 6], "each once, in whichever process"
        assert max(int(total) for total, _ in named) == 6, "counted over all processes"
    assert done.records("valid")[-1]["valid_num_updates"] == "20"
    assert float(done.records("valid")[-1]["valid_loss"]) > 0
    assert (tmp_path / "run" / "checkpoint_best.pt").is_file()


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_rows_are_skipped_and_counted_in_generation(
    workers: int, generate: Callable, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    bad = [damage(row) for damage, row in zip(UNREADABLE, rows, strict=False)]
    data = make_data(tmp_path / "data", test=[*rows[6:9], *bad])
    done = generate(data, "--skip-bad-rows", "--num-workers", workers)
    results = (tmp_path / "out" / "generate-test.txt").read_text()
    assert re.findall(r"^D-(\d+)", results, re.MULTILINE) == ["0", "1", "2"]
    named = re.findall(rf"skipped \((\d) of 7 rows so far\): {data / 'test.tsv'}, row (\d+): ", done.out + done.err)
    assert sorted(int(row) for _, row in named) == [4, 5, 6, 7]
    assert max(int(total) for total, _ in named) == 4


def test_no_good_row_at_all(
    train: Callable, generate: Callable, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    bad = [damage(row) for damage, row in zip(UNREADABLE, rows, strict=False)]
    data = make_data(tmp_path / "data", train=bad, valid=rows[:2], test=bad)
    assert_says(train(data, "ofa", "--skip-bad-rows", fails=True).last_line, data / "train.tsv", "none of its 4 rows")
    assert_says(generate(data, "--skip-bad-rows", fails=True).last_line, data / "test.tsv", "none of its 4 rows")


def test_narvl_commands_tell_errors_in_one_line(
    quick: Callable, checkpoint: Path, rows: list, make_data: Callable, tmp_path: Path
) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(base64.urlsafe_b64decode(rows[0][IMAGE]))
    (tmp_path / "half.png").write_bytes(image.read_bytes()[:200])
    (tmp_path / "garbage.pt").write_bytes(b"not a checkpoint")
    damaged = [rows[0], truncated_image(rows[1])]
    data = make_data(tmp_path / "data", train=[*rows[:2], missing_column(rows[2])], test=rows[:2], damaged=damaged)
    (tmp_path / "generate-test.txt").write_text("D-0\t-0.5\ta circle\n")
    moved = tmp_path / "moved"
    predict = ["narvl", "predict", "--cpu", "--path"]
    latency = ["narvl", "latency", "--cpu", "--data", data, "--run"]
    score = ["narvl", "score", "captioning", "--data", data, "--results"]
    for argv, *parts in (
        ([*predict, checkpoint, tmp_path / "none.png"], tmp_path / "none.png", "no such image"),
        ([*predict, checkpoint, image, tmp_path / "half.png"], tmp_path / "half.png", "truncated"),
        ([*predict, checkpoint, tmp_path], tmp_path, "no such image"),
        ([*predict, image, checkpoint], f"--path {image}", "Give a checkpoint of fairseq-train"),
        ([*predict, tmp_path, image], f"--path {tmp_path}: a folder"),
        ([*predict, tmp_path / "none.pt", image], "--path", tmp_path / "none.pt", "no such checkpoint"),
        ([*predict, tmp_path / "garbage.pt", image], "--path", tmp_path / "garbage.pt"),
        ([*predict, checkpoint, image, "--bpe-dir", moved], f"--bpe-dir {moved}"),
        ([*predict, checkpoint, image, "--batch-size", 0], "--batch-size 0"),
        ([*latency, "NARVL"], "--run", "NAME=CKPT"),
        ([*latency, f"NARVL={checkpoint}", "--split", "valid"], data / "valid.tsv"),
        ([*latency, f"NARVL={checkpoint}", "--split", "damaged"], data / "damaged.tsv, row 2", "truncated"),
        ([*latency, f"NARVL={checkpoint}", "--samples", 1, "--json", image / "x.json"], "--json", image / "x.json"),
        ([*score, tmp_path / "generate-test.txt"], "1 of 2 rows"),
        ([*score, tmp_path / "none.txt"], tmp_path / "none.txt", "fairseq-generate"),
        (["narvl", "distill", "rows", "--data", data, "--out", moved], data / "train.tsv, row 3", "4 columns"),
        (["narvl", "scenes", "--out", moved, "--objects", "7"], "--objects 7"),
    ):
        done = quick(*argv, fails=True)
        errors = [line for line in done.err.splitlines() if ": error: " in line]
        assert done.status == 2, (argv, done.err)
        assert "Traceback" not in done.err
        assert len(errors) == 1, done.err
        assert done.last_line == errors[0]
        for part in parts:
            assert str(part) in done.last_line, done.last_line

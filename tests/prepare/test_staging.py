"""A stopped conversion goes on where it stopped, and what it writes does not tell that it was stopped."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from narvl.errors import DataError, UsageError
from narvl.prepare import convert, staging
from narvl.prepare.encode import encode_image
from narvl.prepare.staging import STAGING

DataSet = Any
IMAGES = {"train": 9, "dev": 4, "test": 3}
TOTAL = sum(IMAGES.values())


@pytest.fixture(autouse=True)
def note_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_NOTE_EVERY_S", 0.0)
    monkeypatch.setattr(staging.os, "fsync", lambda handle: None)  # a killed process loses nothing of what it wrote


@pytest.fixture
def data(make_data_set: Callable[[str, str], DataSet]) -> DataSet:
    """SNLI-VE with one to three pairs an image."""
    made = make_data_set("snli-ve", "entailment")
    for split, count in IMAGES.items():
        lines = []
        for image in range(count):
            made.image(f"{split}{image}.jpg", seed=10 * image + len(split))
            for number in range(image % 3 + 1):
                record = {
                    "pairID": f"{split}{image}#{number}",
                    "Flickr30K_ID": f"{split}{image}",
                    "sentence1": "a premise",
                    "sentence2": f"hypothesis {number}",
                    "gold_label": "neutral",
                }
                lines.append(json.dumps(record) + "\n")
        (made.raw / f"snli_ve_{split}.jsonl").write_text("".join(lines))
    return made


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.tsv")}


def uninterrupted(data: DataSet) -> dict[str, bytes]:
    whole = data.path / "whole"
    data.prepare("--out", str(whole))
    return files(whole)


class Encoder:
    """Stands in for ``encode_image``; acts on the image of a given number."""

    def __init__(self, at: int | None = None, action: Callable[[], None] = lambda: None) -> None:
        self.at = at
        self.action = action
        self.names: list[str] = []

    def __call__(self, path: Path, max_side: int | None) -> Any:
        if len(self.names) == self.at:
            self.action()
        self.names.append(path.name)
        return encode_image(path, max_side)


def interrupt() -> None:
    raise KeyboardInterrupt


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_until_killed(data: DataSet, at: int) -> None:
    """Convert in another process that is killed, without a word, at an image."""

    def work() -> None:
        convert.encode_image = Encoder(at, kill_this_process)  # type: ignore[attr-defined]
        data.prepare("--workers", "1")

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def prepare(data: DataSet, monkeypatch: pytest.MonkeyPatch, encoder: Encoder, *flags: str) -> None:
    monkeypatch.setattr(convert, "encode_image", encoder)
    data.prepare("--workers", "1", *flags)


@pytest.mark.parametrize("at", [0, 5, 9, 11, 15])
def test_a_killed_conversion_goes_on_where_it_stopped(data: DataSet, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    expected = uninterrupted(data)
    run_until_killed(data, at)
    assert not files(data.out), "no split has its name before all are complete"
    rest = Encoder()
    prepare(data, monkeypatch, rest)
    assert files(data.out) == expected
    # A worker reads up to five images ahead of the one that is written, in the same split.
    assert TOTAL - at <= len(rest.names) <= min(TOTAL - at + 6, TOTAL)
    assert not (data.out / STAGING).exists()
    assert data.summary()["splits"]["train"]["images"] == IMAGES["train"]
    assert data.summary()["splits"]["train"]["bytes"] == len(expected["train.tsv"])


def test_killed_again_and_again(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uninterrupted(data)
    for _ in range(2):
        run_until_killed(data, 6)
    prepare(data, monkeypatch, Encoder())
    assert files(data.out) == expected


def test_rows_behind_the_last_note_are_cut_off(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uninterrupted(data)
    run_until_killed(data, 8)
    with (data.out / STAGING / "train.tsv").open("ab") as stream:
        stream.write(b"train9#0\ttrain9\thalf an ima")
    prepare(data, monkeypatch, Encoder())
    assert files(data.out) == expected


def test_an_error_keeps_what_is_done(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uninterrupted(data)
    path = data.images / "train7.jpg"
    good = path.read_bytes()
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"train7\.jpg"):
        prepare(data, monkeypatch, Encoder())
    path.write_bytes(good)
    rest = Encoder()
    prepare(data, monkeypatch, rest)
    assert rest.names[0] == "train7.jpg"
    assert files(data.out) == expected


def test_skipped_rows_are_remembered(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    (data.images / "train2.jpg").write_bytes(b"damaged")
    with pytest.raises(KeyboardInterrupt):
        prepare(data, monkeypatch, Encoder(12, interrupt), "--skip-bad-rows")
    rest = Encoder()
    prepare(data, monkeypatch, rest, "--skip-bad-rows")
    assert "train2.jpg" not in rest.names
    assert data.summary()["skipped"] == {"of an unreadable image": 3}


def test_rows_left_out_are_not_taken_over_where_none_may_be(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = uninterrupted(data)
    path = data.images / "train2.jpg"
    good = path.read_bytes()
    path.write_bytes(b"damaged")
    with pytest.raises(KeyboardInterrupt):
        prepare(data, monkeypatch, Encoder(12, interrupt), "--skip-bad-rows")
    path.write_bytes(good)
    prepare(data, monkeypatch, Encoder())
    assert "has left rows out; begins anew" in caplog.text
    assert files(data.out) == expected


@pytest.mark.parametrize("change", ["max side", "annotations", "splits", "journal", "shorter file", "missing file"])
def test_other_work_begins_anew(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    run_until_killed(data, 11)
    flags: tuple[str, ...] = ()
    begun = data.out / STAGING
    if change == "max side":
        flags = ("--max-side", "4")
    elif change == "annotations":
        path = data.raw / "snli_ve_train.jsonl"
        path.write_text(path.read_text().replace("hypothesis 0", "hypothesis X"))
    elif change == "splits":
        flags = ("--splits", "train")
    elif change == "journal":
        (begun / "journal.json").write_text('{"splits"')
    elif change == "shorter file":
        os.truncate(begun / "train.tsv", 100)
    else:
        (begun / "train.tsv").unlink()
    run = Encoder()
    prepare(data, monkeypatch, run, *flags)
    assert len(run.names) == (IMAGES["train"] if change == "splits" else TOTAL)
    assert "begins anew" in caplog.text
    made = files(data.out)
    data.prepare("--out", str(data.path / "whole"), *flags)
    assert made == files(data.path / "whole")


def test_stopped_while_the_files_took_their_names(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uninterrupted(data)

    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(staging.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            data.prepare()
    (data.out / "train.tsv").rename(data.out / STAGING / "train.tsv")
    run = Encoder()
    prepare(data, monkeypatch, run)
    assert not run.names
    assert files(data.out) == expected


def test_a_finished_conversion_begins_anew(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    data.prepare()
    run = Encoder()
    prepare(data, monkeypatch, run)
    assert len(run.names) == TOTAL


def test_two_conversions_into_one_directory(data: DataSet) -> None:
    data.out.mkdir()
    handle = os.open(data.out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another conversion writes here now"):
            data.prepare()
    finally:
        os.close(handle)
    data.prepare()


def test_out_that_cannot_be_made(data: DataSet) -> None:
    with pytest.raises(UsageError, match=r"--out .*snli_ve_dev\.jsonl: cannot be made"):
        data.prepare("--out", str(data.raw / "snli_ve_dev.jsonl"))


def test_a_full_disk(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "fsync", full)
        with pytest.raises(UsageError, match=r"cannot be written \(No space left on device\)\. Free space"):
            data.prepare()
    data.prepare()
    assert set(files(data.out)) == {"train.tsv", "valid.tsv", "test.tsv"}

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fairseq.data.encoders.gpt2_bpe_utils import get_encoder
from PIL import Image

import narvl
from narvl.commands import scenes as command
from narvl.data import captioning, vqa
from narvl.errors import UsageError
from narvl.scenes import write
from narvl.scenes.judge import judge
from narvl.scenes.render import render
from narvl.scenes.rows import TASKS
from narvl.scenes.world import load_scenes
from narvl.scenes.write import Plan, write_scenes

SMALL = Plan(scenes=(12, 5, 6))
NAMES = {"train.tsv", "valid.tsv", "test.tsv", "encoder.json", "vocab.bpe", "dict.txt"} | {
    f"{split}.scenes.jsonl" for split in ("train", "valid", "test")
}
IMAGE_COLUMN = {"captioning": 4, "vqa": 5, "grounding": 4, "entailment": 2, "pretraining": 5}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("task", list(TASKS))
def test_same_seed_same_bytes(tmp_path: Path, task: str) -> None:
    plan = replace(SMALL, task=task)
    for name in ("a", "b"):
        write_scenes(plan, tmp_path / name)
    write_scenes(replace(plan, seed=1), tmp_path / "c")
    first, other = digests(tmp_path / "a"), digests(tmp_path / "c")
    assert set(first) == NAMES | ({"candidates.txt"} if task == "vqa" else set())
    assert first == digests(tmp_path / "b")
    same = {name for name in NAMES if first[name] == other[name]}
    assert same == {"encoder.json", "vocab.bpe", "dict.txt"}, "the seed moves everything but the BPE"


def test_the_training_questions_answers_are_listed(tmp_path: Path) -> None:
    write_scenes(replace(SMALL, task="vqa"), tmp_path)
    counts = Counter(row[3].partition("&&")[0].partition("|!+")[2] for row in table(tmp_path / "train.tsv"))
    listed = (tmp_path / "candidates.txt").read_text().splitlines()
    assert len(listed) == len(counts) and set(listed) == set(counts)
    assert [counts[answer] for answer in listed] == sorted(counts.values(), reverse=True)
    write_scenes(SMALL, tmp_path)
    assert set(digests(tmp_path)) == NAMES, "another task's data set has none, and the old one goes"


def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    plan = replace(SMALL, task="vqa")
    write_scenes(plan, tmp_path / "here")
    # A bare package in place of the plugin's own: its imports take seconds and have no part in this.
    code = (
        "import sys, types; package = types.ModuleType('narvl'); sys.modules['narvl'] = package\n"
        f"package.__path__ = {list(narvl.__path__)!r}\n"
        f"from narvl.scenes.write import Plan, write_scenes; write_scenes({plan!r}, {str(tmp_path / 'there')!r})"
    )
    hash_seed = "12345" if os.environ.get("PYTHONHASHSEED") != "12345" else "54321"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_a_split_does_not_depend_on_the_others_sizes(tmp_path: Path) -> None:
    write_scenes(SMALL, tmp_path / "a")
    write_scenes(Plan(scenes=(3, 5, 9)), tmp_path / "b")
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert first["valid.tsv"] == second["valid.tsv"]
    assert table(tmp_path / "a" / "train.tsv")[:15] == table(tmp_path / "b" / "train.tsv")
    assert table(tmp_path / "a" / "test.tsv") == table(tmp_path / "b" / "test.tsv")[:6]


@pytest.mark.parametrize(
    ("task", "columns"), [("captioning", 5), ("vqa", 6), ("grounding", 5), ("entailment", 6), ("pretraining", 6)]
)
def test_every_row_has_its_columns_its_scene_and_its_image(tmp_path: Path, task: str, columns: int) -> None:
    write_scenes(replace(SMALL, task=task), tmp_path)
    for split, count in (("train", 12), ("valid", 5), ("test", 6)):
        truth = load_scenes(tmp_path / f"{split}.scenes.jsonl")
        assert len(truth) == count
        rows = table(tmp_path / f"{split}.tsv")
        assert len({fields[0] for fields in rows}) == len(rows), "ids are unique"
        assert list(dict.fromkeys(fields[1] for fields in rows)) == list(truth)
        for fields in rows:
            assert len(fields) == columns and all(fields)
            code = fields[IMAGE_COLUMN[task]]
            assert re.fullmatch(r"[A-Za-z0-9_=-]+", code)
            image = Image.open(io.BytesIO(base64.urlsafe_b64decode(code)))
            assert (image.format, image.mode) == ("PNG", "RGB")
            assert np.array_equal(np.asarray(image), np.asarray(render(truth[fields[1]])))


def test_captioning_rows(tmp_path: Path) -> None:
    write_scenes(SMALL, tmp_path)
    assert len(table(tmp_path / "train.tsv")) == 60
    assert len(table(tmp_path / "valid.tsv")) == 5
    for split, references in (("train", 1), ("valid", 5), ("test", 5)):
        truth = load_scenes(tmp_path / f"{split}.scenes.jsonl")
        for fields in table(tmp_path / f"{split}.tsv"):
            scene = truth[fields[1]]
            captions = fields[2].split("&&")
            assert len(set(captions)) == references
            assert all(judge(caption, scene).faithful for caption in captions)
            assert fields[3].split("&&") == [item.shape for item in scene.objects]


def test_vqa_rows(tmp_path: Path) -> None:
    write_scenes(replace(SMALL, task="vqa"), tmp_path)
    assert len(table(tmp_path / "train.tsv")) == 60
    for fields in table(tmp_path / "train.tsv"):
        assert fields[2].endswith("?")
        for answer in fields[3].split("&&"):
            assert re.fullmatch(r"(0\.3|0\.6|0\.9|1\.0)\|!\+[a-z0-9]+", answer)


def test_grounding_rows(tmp_path: Path) -> None:
    write_scenes(replace(SMALL, task="grounding"), tmp_path)
    for split, rounds in (("train", 2), ("test", 1)):
        truth = load_scenes(tmp_path / f"{split}.scenes.jsonl")
        rows = table(tmp_path / f"{split}.tsv")
        for scene in truth.values():
            boxes = [fields[3] for fields in rows if fields[1] == scene.image_id]
            assert boxes == [",".join(map(str, item.box)) for item in scene.objects] * rounds


def test_entailment_rows(tmp_path: Path) -> None:
    write_scenes(replace(SMALL, task="entailment"), tmp_path / "entailment")
    write_scenes(SMALL, tmp_path / "captioning")
    captions = {fields[1]: fields[2].split("&&")[0] for fields in table(tmp_path / "captioning" / "test.tsv")}
    for split, rounds in (("train", 2), ("test", 1)):
        rows = table(tmp_path / "entailment" / f"{split}.tsv")
        assert [fields[5] for fields in rows[: 3 * rounds]] == ["entailment", "contradiction", "neutral"] * rounds
        if split == "test":
            assert all(fields[4] == captions[fields[1]] for fields in rows)


def test_pretraining_asks_what_the_tasks_ask(tmp_path: Path) -> None:
    for task in ("pretraining", "captioning", "vqa"):
        write_scenes(replace(SMALL, task=task), tmp_path / task)
    rows = table(tmp_path / "pretraining" / "train.tsv")
    assert len(rows) == 12 * (5 + 6 + 5)
    prompts = {vqa.prompt(fields[2], [], 80) for fields in rows}
    assert captioning.PROMPT in prompts
    told = [prompt for prompt in prompts if prompt.startswith(' does the image describe " ')]
    assert told and all(prompt.endswith(' "?') for prompt in told)
    said = [vqa.answers(fields)[0][1] for fields in rows if fields[2] == captioning.PROMPT.strip()]
    assert said == [fields[2] for fields in table(tmp_path / "captioning" / "train.tsv")]
    asked = {fields[1]: 0 for fields in rows}
    for fields in rows[:16]:
        asked[fields[1]] += 1
    assert list(asked.values())[:2] == [16, 0]


def test_all_tasks_show_the_same_scenes_and_share_the_bpe(tmp_path: Path) -> None:
    for task in TASKS:
        write_scenes(replace(SMALL, task=task), tmp_path / task)
    shared = NAMES - {"train.tsv", "valid.tsv", "test.tsv"}
    first = digests(tmp_path / "captioning")
    for task in TASKS:
        found = digests(tmp_path / task)
        assert {name: found[name] for name in shared} == {name: first[name] for name in shared}


def test_the_summary_is_right(tmp_path: Path) -> None:
    summary = write_scenes(SMALL, tmp_path)
    encoder = get_encoder(str(tmp_path / "encoder.json"), str(tmp_path / "vocab.bpe"))
    targets = [
        fields[2].split("&&")[0] for split in ("train", "valid", "test") for fields in table(tmp_path / f"{split}.tsv")
    ]
    lengths = [len(encoder.encode(f" {target}")) + 1 for target in targets]
    assert summary.rows == {"train": 60, "valid": 5, "test": 6}
    assert (summary.targets, summary.total_tokens, summary.longest) == (71, sum(lengths), max(lengths))
    assert summary.vocabulary == len(encoder.encoder)
    assert summary.examples == [(target,) for target in targets[:3]]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_the_old_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_scenes(SMALL, tmp_path)
    before = digests(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(write, "_measure", lambda *args: 1 / 0)
        write_scenes(replace(SMALL, seed=1), tmp_path)
    assert digests(tmp_path) == before
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        write_scenes(replace(SMALL, seed=1), tmp_path)
    assert "replacing" in caplog.text
    assert digests(tmp_path)["train.tsv"] != before["train.tsv"]


@pytest.mark.parametrize("last", ["encoder.json", "train.scenes.jsonl", "test.tsv"])
def test_no_training_file_while_names_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    write_scenes(SMALL, tmp_path)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target.name == last:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(replace(SMALL, seed=1), tmp_path)
    assert not (tmp_path / "train.tsv").exists()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(task="poetry"), "--task poetry"),
        (Plan(scenes=(0, 1, 1)), "--train 0"),
        (Plan(scenes=(1, 1, -2)), "--test -2"),
        (Plan(image_size=16), "--image-size 16"),
        (Plan(objects=(2, 9)), "--objects 2-9"),
    ],
)
def test_bad_plans_are_refused_before_anything_is_written(tmp_path: Path, plan: Plan, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_scenes(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="--out .*out: the folder cannot be made"):
        write_scenes(SMALL, tmp_path / "out")


def arguments(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(flags)


def test_the_command_writes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = ("--train", "4", "--valid", "2", "--test", "3")
    look = ("--image-size", "48", "--objects", "3")
    command.run(arguments("--out", f"{tmp_path}/new/data", "--task", "grounding", "--seed", "7", *counts, *look))
    out = capsys.readouterr().out
    assert "grounding, 9 scenes" in out
    assert "rows: train 24, valid 6, test 9" in out
    assert "5.0 tokens on average, 5 at most" in out
    assert out.count("example: the ") == 3
    scenes = load_scenes(tmp_path / "new" / "data" / "train.scenes.jsonl")
    assert all(scene.image_size == 48 and len(scene.objects) == 3 for scene in scenes.values())
    write_scenes(Plan("grounding", 7, (4, 2, 3), 48, (3, 3)), tmp_path / "same")
    assert digests(tmp_path / "same") == digests(tmp_path / "new" / "data")


def test_the_commands_defaults_are_the_plans() -> None:
    args = arguments("--out", "x")
    assert Plan() == Plan(
        args.task, args.seed, (args.train, args.valid, args.test), args.image_size, command.parse_range(args.objects)
    )
    assert tuple(TASKS) == command.TASK_NAMES


@pytest.mark.parametrize(("text", "expected"), [("2", (2, 2)), ("2-4", (2, 4)), (" 3-3 ", (3, 3))])
def test_ranges(text: str, expected: tuple[int, int]) -> None:
    assert command.parse_range(text) == expected


@pytest.mark.parametrize("text", ["", "two", "2-", "-3", "2,3", "2-3-4"])
def test_bad_ranges(text: str) -> None:
    with pytest.raises(UsageError, match="--objects"):
        command.parse_range(text)

"""The whole way, by the commands that users type: scenes, teacher, distilled student, captions, scores, times, report.

The models are hardly trained: what counts is that every step takes what the step before has made, and loses nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "run_scripts"
RECIPES = {"teacher": "captioning/ofa_nano", "student": "captioning/narvl_nano"}
TRAIN_IMAGES, TEST_IMAGES = 30, 11
UPDATES = 20
BATCH = 7  # leaves a rest of four test images


@dataclass(frozen=True)
class Journey:
    """What the commands made, and what they said."""

    data: Path
    distilled: Path
    teacher: Path
    student: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def journey(run: Callable, quick: Callable, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Go the whole way once."""
    folder = tmp_path_factory.mktemp("journey")
    data, distilled, teacher, student = (folder / name for name in ("data", "distilled", "teacher", "student"))
    short = ["--max-update", UPDATES, "--total-num-update", UPDATES, "--warmup-updates", 2, "--batch-size", 16]
    short += ["--save-interval-updates", 8, "--log-format", "json", "--log-interval", 1]
    batches = ["--batch-size", BATCH]
    said = {}

    counts = ["--train", TRAIN_IMAGES, "--valid", 5, "--test", TEST_IMAGES]
    said["scenes"] = run("narvl", "scenes", "--out", data, "--seed", 1, *counts)
    said["teacher"] = run(SCRIPTS / "train.sh", RECIPES["teacher"], data, teacher, *short)
    said["rows"] = quick("narvl", "distill", "rows", "--data", data, "--out", distilled)
    best = teacher / "checkpoint_best.pt"
    said["decode"] = run(SCRIPTS / "generate.sh", RECIPES["teacher"], best, distilled, "teacher", distilled, *batches)
    results = distilled / "generate-teacher.txt"
    said["targets"] = quick("narvl", "distill", "targets", "--out", distilled, "--results", results)
    start = ["--finetune-from-model", best, "--valid-subset", "valid,test"]
    said["student"] = run(SCRIPTS / "train.sh", RECIPES["student"], distilled, student, *short, *start)
    for name, model in (("teacher", teacher), ("student", student)):
        best = model / "checkpoint_best.pt"
        run(SCRIPTS / "generate.sh", RECIPES[name], best, data, "test", model, *batches)
        scored = ["--results", model / "generate-test.txt", "--data", data, "--json", model / "scores-test.json"]
        said[f"score {name}"] = quick("narvl", "score", "captioning", *scored)
    return Journey(data, distilled, teacher, student, said)


def texts(results: Path) -> dict[int, tuple[str, float]]:
    """Text and score of each D- line; a row twice fails."""
    found: dict[int, tuple[str, float]] = {}
    for row, score, text in re.findall(r"^D-(\d+)\t(\S+)\t(.*)$", results.read_text(), re.MULTILINE):
        assert int(row) not in found, f"row {row} twice"
        found[int(row)] = (text, float(score))
    return found


def lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_data_is_handed_on_whole(journey: Journey) -> None:
    train, teacher = lines(journey.data / "train.tsv"), lines(journey.distilled / "teacher.tsv")
    assert len(train) == 5 * TRAIN_IMAGES
    assert len(teacher) == len({row[1] for row in train}) == TRAIN_IMAGES
    said = texts(journey.distilled / "generate-teacher.txt")
    assert sorted(said) == list(range(TRAIN_IMAGES))
    for index, (before, after) in enumerate(zip(teacher, lines(journey.distilled / "train.tsv"), strict=True)):
        caption = said[index][0].strip()
        assert after == [*before[:2], caption or before[2], *before[3:]]
    for name in ("valid.tsv", "test.tsv", "test.scenes.jsonl", "encoder.json", "vocab.bpe", "dict.txt"):
        assert (journey.distilled / name).read_bytes() == (journey.data / name).read_bytes()


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_training_validates_and_saves(journey: Journey, name: str) -> None:
    log = journey.said[name]
    updates = [int(record["num_updates"]) for record in log.records("train_inner")]
    assert updates == list(range(1, UPDATES + 1))
    valid = log.records("valid")
    assert [record["valid_num_updates"] for record in valid][-1] == str(UPDATES)
    # 150 rows are 10 updates an epoch for the teacher, 30 are 2 for the student; between them, each 8 updates.
    assert {"8", "16"} <= {record["valid_num_updates"] for record in valid}
    for record in valid:
        assert float(record["valid_cider"]) >= 0
        assert ("valid_unreachable" in record) == (name == "student")
    if name == "student":
        assert all(record["valid_unreachable"] == "0" for record in valid)
        assert "added: decoder.query_embed.weight (18, 128), decoder.blank_embed.weight (1, 128)" in log.out
    losses = [float(record["loss"]) for record in log.records("train_inner")]
    assert sum(losses[-5:]) < sum(losses[:5])

    for checkpoint in ("checkpoint_best.pt", "checkpoint_last.pt"):
        state = torch.load(getattr(journey, name) / checkpoint, weights_only=True)
        saving = state["cfg"]["checkpoint"]
        values = [float(record[f"valid_{saving['best_checkpoint_metric']}"]) for record in valid]
        best = max(values) if saving["maximize_best_checkpoint_metric"] else min(values)
        assert state["extra_state"]["best"] == pytest.approx(best)
    assert state["optimizer_history"][-1]["num_updates"] == UPDATES


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_each_row_in_gives_one_text_out_whatever_the_batch(
    journey: Journey, quick: Callable, tmp_path: Path, name: str
) -> None:
    model = getattr(journey, name)
    seven = texts(model / "generate-test.txt")
    assert sorted(seven) == list(range(TEST_IMAGES))
    scenes = ["--task", "captioning", "--patch-image-size", 64, "--code-dict-size", 0, "--num-bins", 64]
    decoding = ["--cpu", "--beam", 5, "--max-len-b", 24, "--batch-size", 1, "--gen-subset", "test"]
    path = ["--user-dir", ROOT / "narvl", "--path", model / "checkpoint_best.pt", "--results-path", tmp_path]
    quick("fairseq-generate", journey.data, *path, *scenes, *decoding)
    one = texts(tmp_path / "generate-test.txt")
    assert {row: text for row, (text, _) in one.items()} == {row: text for row, (text, _) in seven.items()}
    for row, (_, score) in one.items():
        assert score == pytest.approx(seven[row][1], abs=1e-4)
    assert len({round(score, 6) for _, score in one.values()}) > TEST_IMAGES // 2, "the image plays no part"


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_scores(journey: Journey, name: str) -> None:
    record = json.loads((getattr(journey, name) / "scores-test.json").read_text())
    assert (record["task"], record["split"], record["samples"]) == ("captioning", "test", TEST_IMAGES)
    assert 0 <= record["metrics"]["BLEU-4"] <= record["metrics"]["BLEU-1"] <= 1
    assert 0 <= record["faithfulness"]["faithful"] <= 1
    assert f"{100 * record['metrics']['CIDEr']:.2f}" in journey.said[f"score {name}"].out


def test_validation_and_score_agree(journey: Journey) -> None:
    state = torch.load(journey.student / "checkpoint_best.pt", weights_only=True)
    best = str(state["optimizer_history"][-1]["num_updates"])
    tested = [record for record in journey.said["student"].records("test") if record["test_num_updates"] == best]
    cider = json.loads((journey.student / "scores-test.json").read_text())["metrics"]["CIDEr"]
    assert float(tested[0]["test_cider"]) == pytest.approx(100 * cider, abs=0.01)
    assert cider > 0


def test_predict(journey: Journey, run: Callable, quick: Callable, tmp_path: Path) -> None:
    first, second = lines(journey.data / "test.tsv")[:2]
    names = [tmp_path / name for name in ("plain.png", "alpha.png", "grey scale.jpg")]
    names[0].write_bytes(base64.urlsafe_b64decode(first[4]))
    names[1].write_bytes(base64.urlsafe_b64decode(second[4]))
    with Image.open(names[1]) as image:
        alpha = image.convert("RGBA")
    alpha.putalpha(255)
    alpha.save(names[1])
    Image.new("L", (90, 30), 77).save(names[2])

    said = texts(journey.student / "generate-test.txt")
    command = ["narvl", "predict", "--cpu", "--path", journey.student / "checkpoint_best.pt"]
    answers = json.loads(quick(*command, "--json", "--batch-size", 2, *names).out)
    assert [answer["image"] for answer in answers] == [str(name) for name in names]
    assert [answer["caption"] for answer in answers[:2]] == [said[row][0].strip() for row in range(2)]
    shown = run(*command, *names)
    assert shown.out.splitlines() == [f"{answer['image']}\t{answer['caption']}" for answer in answers]
    assert shown.err == "", "nothing but captions"
    assert quick(*command, names[0]).out == answers[0]["caption"] + "\n"


def test_latency_and_report(journey: Journey, run: Callable, quick: Callable, tmp_path: Path) -> None:
    best = [f"{name}={getattr(journey, name) / 'checkpoint_best.pt'}" for name in ("teacher", "student")]
    flags = ["--samples", 6, "--warmup", 2, "--cpu", "--max-len-b", 24, "--json", tmp_path / "latency.json"]
    timed = run("narvl", "latency", "--data", journey.data, "--run", best[0], "--run", best[1], *flags)
    rows = json.loads((tmp_path / "latency.json").read_text())["rows"]
    searches = ("AR beam 5, fairseq", "AR beam 5, optimised", "AR greedy, optimised")
    decodings = [*(("teacher", name) for name in searches), ("student", "parallel")]
    assert [(row["name"], row["decoding"]) for row in rows] == decodings
    assert rows[0]["speedup"] == 1.0
    for row in rows:
        assert row["samples"] == 6
        assert 0 < row["encoder_ms"] < row["median_ms"] <= row["p95_ms"]
        assert row["decoding"] in timed.out

    out = tmp_path / "report"
    folders = [f"{name}={getattr(journey, name)}" for name in ("teacher", "student")]
    flags = ["--latency", tmp_path / "latency.json", "--out", out, "--images", 4]
    report = quick("narvl", "report", "--data", journey.data, "--run", folders[0], "--run", folders[1], *flags)
    table = (out / "table.md").read_text()
    assert report.out == table
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:6]] == ["teacher"] * 3 + ["student"]
    assert table.splitlines()[2].rstrip(" |").endswith("1.0x")
    results = json.loads((out / "results.json").read_text())
    assert results["rows"][0]["speedup"] == 1.0
    assert results["rows"][3]["scores"]["samples"] == TEST_IMAGES
    with Image.open(out / "grid.png") as grid:
        assert min(grid.size) > 100


def test_what_a_newcomer_sees(journey: Journey) -> None:
    assert str(journey.data) in journey.said["scenes"].out
    assert f"{TRAIN_IMAGES} images to decode: {journey.distilled / 'teacher.tsv'}" in journey.said["rows"].out
    assert f"{TRAIN_IMAGES} targets: {journey.distilled / 'train.tsv'}" in journey.said["targets"].out
    assert f"{journey.distilled / 'generate-teacher.txt'}\n" in journey.said["decode"].out
    # Decoding shows a progress bar, and of the logs no more than what is printed before the plugin is imported.
    logged = [line for line in journey.said["decode"].err.splitlines() if re.match(r"(DEBUG|INFO|WARNING):", line)]
    assert not [line for line in logged if not re.match(r"(DEBUG:hydra|INFO:fairseq\.tasks\.text_to_speech)", line)]

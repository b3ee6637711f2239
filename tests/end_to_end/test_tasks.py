"""Question answering, grounding, entailment by the real commands: train, decode, score, ask; and weighted samples."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from narvl.data.tsv import COLUMNS
from narvl.errors import UsageError
from narvl.inference import Predictor
from narvl.scenes.write import Plan, write_scenes

ROOT = Path(__file__).resolve().parents[2]
ADAM = ("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--lr", 1e-3, "--clip-norm", 1.0)
VOCABULARY = ("--patch-image-size", 64, "--code-dict-size", 0, "--num-bins", 64)
LOGS = ("--log-format", "json", "--log-interval", 1, "--no-epoch-checkpoints", "--seed", 1)


@dataclass(frozen=True)
class Case:
    """What a task's models are told, and what `narvl predict` is asked."""

    flags: tuple[object, ...]
    question: tuple[str, ...]
    metric: str


POSITION = ("--criterion", "query_cross_entropy", "--alignment", "position", "--num-queries", 5)
CASES = {
    "vqa": Case(("--criterion", "query_ctc", "--num-queries", 6), ("--question", "How many shapes?"), "accuracy"),
    "grounding": Case((*POSITION, "--max-image-size", 64), ("--text", "the red disc"), "acc_at_0.5"),
    "entailment": Case(("--criterion", "query_ctc", "--num-queries", 2), ("--hypothesis", "a disc"), "accuracy"),
}


def task_flags(task: str) -> list[object]:
    frame = ("--max-image-size", 64) if task == "grounding" else ()
    return ["--user-dir", ROOT / "narvl", "--task", task, *VOCABULARY, *frame, "--cpu", "--num-workers", 0]


@pytest.mark.parametrize("task", list(CASES))
def test_from_data_to_an_answer(task: str, quick: Callable, tmp_path: Path) -> None:
    case, data, model = CASES[task], tmp_path / "data", tmp_path / "model"
    write_scenes(Plan(task, scenes=(4, 2, 3), seed=1), data)
    length = ("--batch-size", 8, "--max-update", 3)
    flags = [*task_flags(task), "--arch", "narvl_nano", *case.flags, *ADAM, *length, *LOGS, "--save-dir", model]
    trained = quick("fairseq-train", data, *flags)
    (valid,) = trained.records("valid")[-1:]
    [logged] = [name for name in valid if name in ("valid_vqa_accuracy", "valid_acc_at_0.5", "valid_accuracy")]
    assert 0 <= float(valid[logged]) <= 100

    best = model / "checkpoint_last.pt"
    quick("fairseq-generate", data, *task_flags(task), "--path", best, "--results-path", model, "--batch-size", 4)
    scores = tmp_path / "scores.json"
    results = ["--results", model / "generate-test.txt", "--data", data]
    scored = quick("narvl", "score", task, *results, "--json", scores)
    assert scored.out
    record = json.loads(scores.read_text())
    assert (record["task"], record["split"]) == (task, "test")

    first = (data / "test.tsv").read_text().splitlines()[0].split("\t")
    image = tmp_path / "first.png"
    image.write_bytes(base64.urlsafe_b64decode(first[COLUMNS[task].index("image")]))
    ask = ["narvl", "predict", "--cpu", "--path", best, "--task", task, *case.question, image]
    (answer,) = json.loads(quick(*ask, "--json").out)
    assert math.isfinite(answer["score"])
    said = quick(*ask).out.strip()
    if task == "grounding":
        x0, y0, x1, y1 = answer["box"]
        assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
        assert said == f"{x0} {y0} {x1} {y1}"
    else:
        assert said == answer["answer"]

    other = next(name for name in CASES if name != task)
    refused = quick("narvl", "predict", "--cpu", "--path", best, *CASES[other].question, image, fails=True)
    assert f"the checkpoint is for {task}, which takes --" in refused.last_line
    missing = quick("narvl", "predict", "--cpu", "--path", best, image, fails=True)
    assert f"{case.question[0]} is missing" in missing.last_line
    wrong = quick("narvl", "predict", "--cpu", "--path", best, "--task", other, image, fails=True)
    assert f"--task {other}: the checkpoint" in wrong.last_line


def test_boxes_are_drawn(quick: Callable, tmp_path: Path) -> None:
    """A parallel model says a box that has an area whatever it has learned, so that there is one to draw."""
    data, model = tmp_path / "data", tmp_path / "model"
    write_scenes(Plan("grounding", scenes=(2, 1, 1), seed=1), data)
    training = (*POSITION, "--batch-size", 4, "--max-update", 1)
    flags = [*task_flags("grounding"), "--arch", "narvl_nano", *training, *ADAM, *LOGS, "--save-dir", model]
    quick("fairseq-train", data, *flags, "--disable-validation")
    images = [tmp_path / name for name in ("wide.png", "tall.png")]
    for image, size in zip(images, ((120, 40), (30, 90)), strict=True):
        Image.new("RGB", size, "white").save(image)
    ask = ["narvl", "predict", "--cpu", "--path", model / "checkpoint_last.pt", "--text", "the ring"]
    (answer,) = json.loads(quick(*ask, "--json", "--draw", tmp_path / "new" / "box.png", images[0]).out)
    x0, y0, x1, y1 = answer["box"]
    assert 0 <= x0 < x1 <= 120 and 0 <= y0 < y1 <= 40
    with Image.open(tmp_path / "new" / "box.png") as drawn:
        assert drawn.size == (120, 40)
        assert drawn.convert("RGB").getcolors() != [(120 * 40, (255, 255, 255))]
    ask_in_python = Predictor(model / "checkpoint_last.pt", cpu=True)
    said = ask_in_python(images[0], text="the ring")
    assert said.box == answer["box"] and said.text == answer["said"] and said.score == pytest.approx(answer["score"])
    assert ask_in_python(Image.new("L", (120, 40), 255), text="the ring") == said  # of any mode
    with pytest.raises(UsageError, match="--text is missing"):
        ask_in_python(images[0])
    with pytest.raises(UsageError, match="--question: the checkpoint is for grounding, which takes --text"):
        ask_in_python(images[0], question="what?")
    state = torch.load(model / "checkpoint_last.pt", weights_only=True)
    for told in ("data", "elsewhere"):  # as one who trains in the folder above says it
        state["cfg"]["task"]["data"] = told
        torch.save(state, model / f"{told}.pt")
    assert Predictor(model / "data.pt", cpu=True)(images[0], text="the ring") == said
    with pytest.raises(UsageError, match=r"elsewhere\.pt: trained with the BPE files in elsewhere, .* Give --bpe-dir"):
        Predictor(model / "elsewhere.pt", cpu=True)
    before = [image.read_bytes() for image in images]
    for draw, given in ((images[0], images[:1]), (tmp_path, images)):
        refused = quick(*ask, "--draw", draw, *given, fails=True)
        assert refused.last_line.endswith(f"{images[0]} is an image that you give. Give another place.")
    assert [image.read_bytes() for image in images] == before
    quick(*ask, "--draw", tmp_path / "many", *images)
    assert {path.name for path in (tmp_path / "many").iterdir()} == {"wide.png", "tall.png"}


def test_weighted_samples_do_not_diverge(quick: Callable, tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    write_scenes(Plan("vqa", scenes=(8, 2, 1), seed=1), data)
    rows = [line.split("\t") for line in (data / "train.tsv").read_text().splitlines()]
    for number, fields in enumerate(rows):  # confidences from 0.3 to 1
        answer = fields[3].split("&&")[0].partition("|!+")[2]
        fields[3] = f"{(0.3, 0.6, 0.9, 1.0)[number % 4]}|!+{answer}"
    (data / "train.tsv").write_text("".join("\t".join(fields) + "\n" for fields in rows))
    training = ("--criterion", "query_ctc", "--num-queries", 6, "--batch-size", 20, "--max-update", 60)
    flags = [*task_flags("vqa"), "--arch", "narvl_nano", *training, *ADAM, *LOGS, "--save-dir", model]
    trained = quick("fairseq-train", data, *flags, "--disable-validation", "--dropout", 0)
    records = trained.records("train_inner")
    losses, norms = ([float(record[name]) for record in records] for name in ("loss", "gnorm"))
    assert len(losses) == 60
    assert all(map(math.isfinite, [*losses, *norms]))
    # The earlier gradient, wrong at weights below 1, grew with the model's confidence instead of vanishing.
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert max(norms[-10:]) < max(norms[:10])


@pytest.mark.parametrize("arch", ["ofa_nano", "narvl_nano"])
def test_half_precision_decodes_the_same_boxes(arch: str, quick: Callable, tmp_path: Path) -> None:
    """``fairseq-generate --fp16`` halves the model alone; boxes come from bins, in double precision."""
    data, model = tmp_path / "data", tmp_path / "model"
    write_scenes(Plan("grounding", scenes=(8, 1, 4), seed=1), data)
    criterion = POSITION if arch == "narvl_nano" else ("--criterion", "label_smoothed_cross_entropy")
    training = (*criterion, "--batch-size", 16, "--max-update", 20)
    flags = [*task_flags("grounding"), "--arch", arch, *training, *ADAM, *LOGS, "--save-dir", model]
    quick("fairseq-train", data, *flags, "--disable-validation")
    said = []
    for name, precision in (("single", ()), ("half", ("--fp16",))):
        best = ("--path", model / "checkpoint_last.pt", "--results-path", tmp_path / name)
        quick("fairseq-generate", data, *task_flags("grounding"), *best, "--batch-size", 4, *precision)
        lines = (tmp_path / name / "generate-test.txt").read_text().splitlines()
        said.append({line.split("\t")[0]: line.split("\t")[2] for line in lines if line.startswith("D-")})
    assert len(said[0]) == 8 and said[0].keys() == said[1].keys()
    single, half = (" ".join(boxes.values()).split() for boxes in said)
    differing = sum(one != other for one, other in zip(single, half, strict=True))
    assert differing <= 2, "of 32 coordinates, two may hang in the balance after so little training"


@pytest.mark.parametrize("search", ["trie", "all"])
def test_answers_among_candidates(search: str, quick: Callable, tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    write_scenes(Plan("vqa", scenes=(2, 1, 2), seed=1), data)
    training = ("--criterion", "weighted_cross_entropy", "--batch-size", 8, "--max-update", 1)
    flags = [*task_flags("vqa"), "--arch", "ofa_nano", *training, *ADAM, *LOGS, "--save-dir", model]
    quick("fairseq-train", data, *flags, "--disable-validation")
    answers = tmp_path / "answers.txt"
    answers.write_text("cross\nlarge ring\n2\n")
    decoding = [*task_flags("vqa"), "--path", model / "checkpoint_last.pt", "--results-path", model, "--unnormalized"]
    quick("fairseq-generate", data, *decoding, "--candidates", answers, "--candidate-search", search, "--batch-size", 4)
    lines = (model / "generate-test.txt").read_text().splitlines()
    said = [line.split("\t")[2].strip() for line in lines if line.startswith("D-")]
    assert len(said) == 10 and set(said) <= {"cross", "large ring", "2"}
    ignored = quick("fairseq-generate", data, *decoding, "--candidates", answers, fails=True)
    assert "Add --candidate-search trie or all" in ignored.err
    if search == "all":
        path, command = model / "checkpoint_last.pt", ["narvl", "latency", "--data", data, "--cpu", "--max-len-b", 4]
        timed = quick(*command, "--run", f"AR={path}", "--candidates", answers, "--samples", 2, "--warmup", 0).out
        ways = [line.split("|")[2].strip() for line in timed.splitlines()[2:]]
        assert ways == ["AR beam 5, fairseq", "AR beam 5, optimised", "AR greedy, optimised", "AR all candidates"]

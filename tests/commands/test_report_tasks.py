"""``narvl report`` for each task: the columns, the pictures, and the captioning table as the README has it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from PIL import Image

from narvl.commands import report, score
from narvl.commands.reporting import captioning
from narvl.errors import DataError
from narvl.evaluation import grid

ROOT = Path(__file__).resolve().parents[2]
ANSWER_OF = {"entailment": "yes", "contradiction": "no", "neutral": "maybe"}


def call(command, *argv):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([str(argument) for argument in argv]))


def truth(task, row):
    """What a perfect model says about a row."""
    if task == "vqa":
        return row[3].split("&&")[0].split("|!+")[1]
    if task == "entailment":
        return ANSWER_OF[row[5]]
    return " ".join(f"{float(number) / 64:.6f}" for number in row[3].split(","))


WRONG = {"vqa": "dunno", "grounding": "<bin_3>", "entailment": "cat"}


@pytest.fixture
def reported(tmp_path, task_data, read_tsv, write_generated, monkeypatch, capsys):
    """Score and report a perfect and a wrong run of a task: the table's rows, the notes, the pictures."""

    def make(task, *flags):
        drawn = []
        draw_grid = grid.draw_grid
        monkeypatch.setattr(
            grid,
            "draw_grid",
            lambda pictures, title, marks: drawn.extend(pictures) or draw_grid(pictures, title, marks),
        )
        data = task_data(task)
        rows = read_tsv(data / "test.tsv")
        runs = {"AR": [truth(task, row) for row in rows], "NARVL": [WRONG[task]] * len(rows)}
        arguments = ["--data", data, "--out", tmp_path / "out"]
        for name, texts in runs.items():
            results = write_generated(tmp_path / name, texts)
            call(score, task, "--results", results, "--data", data, "--json", tmp_path / name / "scores-test.json")
            arguments += ["--run", f"{name}={tmp_path / name}"]
        capsys.readouterr()
        call(report, *arguments, *flags)
        output = capsys.readouterr().out
        lines = [line for line in output.splitlines() if line.startswith("|") and "---" not in line]
        header, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return [dict(zip(header, row, strict=True)) for row in cells], output, drawn

    return make


@pytest.mark.parametrize(
    ("task", "perfect", "wrong"),
    [
        ("vqa", {"accuracy": "100.0%", "exact match": "100.0%"}, {"accuracy": "0.0%", "exact match": "0.0%"}),
        (
            "grounding",
            {"Acc@0.5": "100.0%", "mean IoU": "1.000", "invalid": "0"},
            {"Acc@0.5": "0.0%", "mean IoU": "0.000", "invalid": "12"},
        ),
        (
            "entailment",
            {"accuracy": "100.0%", "entailment": "100.0%", "contradiction": "100.0%", "neutral": "100.0%"},
            {"accuracy": "0.0%", "entailment": "0.0%", "contradiction": "0.0%", "neutral": "0.0%"},
        ),
    ],
)
def test_table(reported, tmp_path, task_data, read_tsv, task, perfect, wrong):
    rows, output, _ = reported(task)
    assert rows == [{"run": "AR", **perfect}, {"run": "NARVL", **wrong}]
    assert f"{len(read_tsv(task_data(task) / 'test.tsv'))} " in output
    assert (tmp_path / "out" / "table.md").read_text() == output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["scores"]["task"] for row in results["rows"]] == [task, task]
    with Image.open(tmp_path / "out" / "grid.png") as image:
        assert image.width > 3 * grid.SIDE


def test_latency_stands_beside_the_scores(reported, tmp_path):
    timing = {"decoding": "AR beam 5", "median_ms": 30.0, "p95_ms": 31.0}
    rows = [{"name": "AR", **timing}, {"name": "NARVL", **timing, "decoding": "parallel", "median_ms": 10.0}]
    (tmp_path / "latency.json").write_text(json.dumps({"rows": rows}))
    table, _, _ = reported("entailment", "--latency", tmp_path / "latency.json")
    assert list(table[1])[:3] == ["run", "decoding", "accuracy"]
    assert (table[1]["decoding"], table[1]["median ms"], table[1]["speed-up"]) == ("parallel", "10.0", "3.0x")


def test_pictures_of_questions(reported, task_data, read_tsv):
    _, _, pictures = reported("vqa", "--images", 3)
    rows = read_tsv(task_data("vqa") / "test.tsv")
    assert len(pictures) == 3
    question, people, right, wrong = pictures[0].captions
    assert (question.label, question.text) == ("question", rows[0][2])
    assert people.text.startswith(f"{truth('vqa', rows[0])} (100%)")
    assert (right.label, right.text, right.right) == ("AR", truth("vqa", rows[0]), True)
    assert (wrong.label, wrong.text, wrong.right) == ("NARVL", "dunno", False)


def test_pictures_of_boxes(reported, task_data, read_tsv):
    _, _, pictures = reported("grounding", "--images", 2)
    rows = read_tsv(task_data("grounding") / "test.tsv")
    box = pytest.approx([float(number) for number in rows[0][3].split(",")], abs=1e-3)
    text, true, right, wrong = pictures[0].captions
    assert (text.label, text.text) == ("text", rows[0][2])
    assert (true.label, true.colour) == ("truth", grid.TRUTH)
    assert right.text.endswith("IoU 1.00") and right.right is True
    assert (wrong.text, wrong.right) == ("no box: <bin_3>", False)
    assert len({true.colour, right.colour, wrong.colour}) == 3
    assert [(drawn.box, drawn.colour) for drawn in pictures[0].boxes] == [(box, true.colour), (box, right.colour)]


def test_pictures_of_hypotheses(reported, task_data, read_tsv):
    _, _, pictures = reported("entailment", "--images", 1)
    row = read_tsv(task_data("entailment") / "test.tsv")[0]
    answer = ANSWER_OF[row[5]]
    assert [(caption.label, caption.text, caption.right) for caption in pictures[0].captions] == [
        ("hypothesis", row[3], None),
        ("label", f"{row[5]} ({answer})", None),
        ("AR", answer, True),
        ("NARVL", "cat", False),
    ]


@pytest.mark.parametrize(("task", "column"), [("vqa", 3), ("grounding", 3), ("entailment", 5)])
def test_pictures_of_rows_without_truth_have_no_marks(
    tmp_path, task_data, read_tsv, write_generated, monkeypatch, task, column
):
    drawn = []
    monkeypatch.setattr(
        grid, "draw_grid", lambda pictures, title, marks: drawn.extend(pictures) or Image.new("RGB", (1, 1))
    )
    rows = read_tsv(task_data(task) / "test.tsv")
    said = [truth(task, rows[0]), "?"]
    rows[1][column] = ""
    (tmp_path / "test.tsv").write_text("".join("\t".join(row) + "\n" for row in rows[:2]))
    results = write_generated(tmp_path / "run", said)
    call(score, task, "--results", results, "--data", tmp_path, "--json", tmp_path / "run" / "scores-test.json")
    call(report, "--data", tmp_path, "--run", f"NARVL={tmp_path / 'run'}", "--out", tmp_path / "out")
    labelled, unlabelled = drawn
    assert [caption.right for caption in labelled.captions] == [None, None, True]
    assert [caption.right for caption in unlabelled.captions] == [None, None]


def test_runs_that_do_not_compare(reported, tmp_path, task_data):
    reported("vqa")
    arguments = ["--data", task_data("vqa"), "--out", tmp_path / "out", "--run", f"AR={tmp_path / 'AR'}"]
    path = tmp_path / "NARVL" / "scores-test.json"
    record = json.loads(path.read_text())
    for change, message in [
        ({"truth": "annotations"}, "judged by different truths"),
        (
            {"task": "entailment", "recall": {}},
            "scores of entailment on split 'test', but the report is on vqa, --split",
        ),
        ({"task": "poetry"}, "its task is 'poetry', known are captioning, vqa, grounding, entailment"),
        ({"task": ["vqa"]}, r"its task is \['vqa'\]"),
    ]:
        path.write_text(json.dumps({**record, **change}))
        with pytest.raises(DataError, match=message):
            call(report, *arguments, "--run", f"NARVL={tmp_path / 'NARVL'}")
    del record["truth"]
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="scores-test.json: no truth in it. Make it with: narvl score vqa --results"):
        call(report, *arguments, "--run", f"NARVL={tmp_path / 'NARVL'}")


def test_the_captioning_table_is_the_published_one():
    """The quickstart's results file holds the table that README.md shows: its rows still give that table."""
    record = json.loads((ROOT / "results" / "quickstart.json").read_text())
    scores = {row["name"]: row["scores"] for row in record["rows"] if row["scores"]}
    text = report.format_table(record["rows"], captioning.columns(scores))
    assert record["table"].startswith(text)
    assert all(f"- {note}\n" in record["table"] for note in captioning.notes(scores))

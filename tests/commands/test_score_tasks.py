"""``narvl score vqa | grounding | entailment`` on scenes: tables, figures, server files, and clear errors."""

from __future__ import annotations

import argparse
import base64
import io
import json

import pytest
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from narvl.commands import score
from narvl.errors import DataError, UsageError

TASKS = ("vqa", "grounding", "entailment")


def run(task, *argv):
    parser = argparse.ArgumentParser(prog="narvl score")
    score.add_arguments(parser)
    score.run(parser.parse_args([task, *(str(argument) for argument in argv)]))


@pytest.fixture
def scored(tmp_path, task_data, write_generated, capsys):
    """Score texts against a task's scenes: ``scored(task, texts, *flags)`` gives the output and the figures."""

    def call(task, texts, *flags, data=None):
        results = write_generated(tmp_path / "run", texts)
        path = tmp_path / "scores-test.json"
        run(task, "--results", results, "--data", data or task_data(task), "--json", path, *flags)
        return capsys.readouterr().out, json.loads(path.read_text())

    return call


def fractions(field, width=64, height=64):
    corners = [float(number) for number in field.split(",")]
    return " ".join(f"{value / side:.6f}" for value, side in zip(corners, [width, height] * 2, strict=True))


def best(field):
    """The answer of highest confidence in an answers column."""
    pairs = [entry.split("|!+") for entry in field.split("&&")]
    return max(pairs, key=lambda pair: float(pair[0]))[1]


def jpeg(size, orientation):
    image, data = Image.new("RGB", size), io.BytesIO()
    exif = image.getexif()
    exif[ExifTag.Orientation] = orientation
    image.save(data, "JPEG", exif=exif)
    return base64.urlsafe_b64encode(data.getvalue()).decode()


def table(output, heading):
    """Rows of the table that begins with a heading, as lists of cells, the rule left out."""
    lines = output.split(heading, 1)[1].split("\n\n")[0].splitlines()[2:]
    return [line.split() for line in lines if "---" not in line]


def test_perfect_answers(scored, task_data, read_tsv):
    rows = read_tsv(task_data("vqa") / "test.tsv")
    output, record = scored("vqa", [best(row[3]).title() + "." for row in rows])
    assert (record["task"], record["split"], record["samples"], record["accuracy"]) == ("vqa", "test", len(rows), 1)
    assert record["exact_match"] < 1  # the period counts
    assert record["truth"] == "answers column" and record["by_question_type"] == {}
    assert sum(share["samples"] for share in record["by_answer_type"].values()) == len(rows)
    assert record["by_answer_type"].keys() == {"number", "other", "yes/no"}
    assert record["provenance"]["versions"]["python"]
    assert [row[0] for row in table(output, "answer type")] == ["number", "other", "yes/no"]
    assert "100.00%" in output and "question type" not in output


def test_answers_that_only_some_people_gave(scored, task_data, read_tsv):
    rows = read_tsv(task_data("vqa") / "test.tsv")
    _, record = scored("vqa", ["?"] * (len(rows) - 1) + [best(rows[-1][3])])
    assert record["accuracy"] == record["exact_match"] == pytest.approx(1 / len(rows))


def annotations(rows, path, answers):
    entries = [
        {
            "question_id": int(row[0]),
            "question_type": " ".join(row[2].split()[:2]),
            "answer_type": "other",
            "answers": [{"answer": answer, "answer_id": number} for number, answer in enumerate(answers)],
        }
        for row in rows
    ]
    path.write_text(json.dumps({"annotations": entries}))
    return path


@pytest.fixture
def numbered(tmp_path, task_data, read_tsv):
    """VQA data with question-ids as VQAv2 has them; its rows and its folder."""
    rows = read_tsv(task_data("vqa") / "test.tsv")
    for number, row in enumerate(rows):
        row[0] = str(262148000 + number)
    folder = tmp_path / "numbered"
    folder.mkdir()
    (folder / "test.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return rows, folder


def test_official_annotations_replace_the_column(scored, numbered, tmp_path):
    rows, folder = numbered
    path = annotations(rows[::-1], tmp_path / "annotations.json", [*["two"] * 2, *["three"] * 8])
    output, record = scored("vqa", ["2"] * len(rows), "--annotations", path, data=folder)
    assert record["accuracy"] == pytest.approx(0.6) and record["exact_match"] == 0
    assert record["truth"] == "annotations"
    assert record["by_question_type"].keys() == {" ".join(row[2].split()[:2]) for row in rows}
    assert "60.00%" in output and "question type" in output
    path = annotations(rows[:-2], path, ["two"] * 10)
    with pytest.raises(DataError, match=rf"annotations.json: 2 of the {len(rows)} questions of .*test.tsv"):
        scored("vqa", ["2"] * len(rows), "--annotations", path, data=folder)


def test_server_file_of_answers(scored, numbered, tmp_path):
    rows, folder = numbered
    output, _ = scored("vqa", ["the cat"] * len(rows), "--submission", tmp_path / "vqa.json", data=folder)
    assert f"{len(rows)} entries for the evaluation server" in output
    entries = json.loads((tmp_path / "vqa.json").read_text())
    assert entries == [{"question_id": int(row[0]), "answer": "the cat"} for row in rows]


def test_answers_without_truth(numbered, write_generated, tmp_path, capsys):
    rows, folder = numbered
    (folder / "test.tsv").write_text("".join("\t".join([*row[:3], "", *row[4:]]) + "\n" for row in rows))
    arguments = ["--results", write_generated(tmp_path / "run", ["no"] * len(rows)), "--data", folder]
    with pytest.raises(DataError, match="test.tsv: no row has an answer.*--annotations.*--submission"):
        run("vqa", *arguments)
    run("vqa", *arguments, "--submission", tmp_path / "vqa.json")
    assert "has no answers: nothing was scored" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "vqa.json").read_text())) == len(rows)
    path = annotations(rows, tmp_path / "annotations.json", ["no"] * 10)
    run("vqa", *arguments, "--annotations", path)
    assert "100.00%" in capsys.readouterr().out


def test_question_ids_that_no_server_takes(scored, task_data, read_tsv, tmp_path):
    texts = ["no"] * len(read_tsv(task_data("vqa") / "test.tsv"))
    with pytest.raises(DataError, match="test.tsv, row 1: the question-id is 'test-000000-0'"):
        scored("vqa", texts, "--submission", tmp_path / "vqa.json")


@pytest.mark.parametrize(("digits", "taken"), [(18, True), (19, False), (5000, False)])
def test_question_ids_of_many_digits(scored, task_data, read_tsv, tmp_path, digits, taken):
    """Python itself reads no number of thousands."""
    folder = tmp_path / "data"
    folder.mkdir()
    row = ["9" * digits, *read_tsv(task_data("vqa") / "test.tsv")[0][1:]]
    (folder / "test.tsv").write_text("\t".join(row) + "\n")
    if taken:
        scored("vqa", ["no"], "--submission", tmp_path / "vqa.json", data=folder)
        assert json.loads((tmp_path / "vqa.json").read_text())[0]["question_id"] == 10**18 - 1
    else:
        with pytest.raises(DataError, match=r"test.tsv, row 1: the question-id is '9+'\. A server") as error:
            scored("vqa", ["no"], "--submission", tmp_path / "vqa.json", data=folder)
        assert len(str(error.value)) < 500


def test_boxes(scored, task_data, read_tsv):
    boxes = [fractions(row[3]) for row in read_tsv(task_data("grounding") / "test.tsv")]
    _, record = scored("grounding", boxes)
    assert record["accuracy"] == 1 and record["mean_iou"] == pytest.approx(1, abs=1e-3)
    assert record["invalid"] == 0 and record["by_size"]["small"]["samples"] == record["samples"] == len(boxes)

    output, record = scored("grounding", ["<bin_3> <bin_4>", "", "0.5 0.5 0.1 0.1", "0 0 nan 1", *boxes[4:]])
    hits = (len(boxes) - 4) / len(boxes)
    assert (record["malformed"], record["without_area"], record["invalid"]) == (3, 1, 4)
    assert record["accuracy"] == pytest.approx(hits) and record["mean_iou"] == pytest.approx(hits, abs=1e-3)
    assert f"4 ({4 / len(boxes):.2%})" in output and f"{hits:.2%}" in output


def test_boxes_are_fractions_of_the_upright_image(scored, tmp_path):
    """A photo on its side: 30x60 pixels as stored, 60x30 as seen."""
    (tmp_path / "test.tsv").write_text(f"0\ti\tthe dog\t30,15,60,30\t{jpeg((30, 60), 6)}\n")
    _, record = scored("grounding", ["0.5 0.5 1.0 1.0"], data=tmp_path)
    assert record["mean_iou"] == pytest.approx(1)


def test_answers_to_hypotheses(scored, task_data, read_tsv):
    answer = {"entailment": "yes", "contradiction": "no", "neutral": "maybe"}
    rows = read_tsv(task_data("entailment") / "test.tsv")
    texts = [answer[row[5]] if row[5] != "neutral" else "a cat" for row in rows]
    output, record = scored("entailment", texts)
    assert record["accuracy"] == pytest.approx(2 / 3)
    assert record["recall"] == {"yes": 1.0, "no": 1.0, "maybe": 0.0}
    third = len(rows) // 3
    assert record["confusion"]["maybe"] == {"yes": 0, "no": 0, "maybe": 0, "other": third}
    assert table(output, "true, said:")[2] == ["neutral", "(maybe)", "0", "0", "0", str(third), "0.00%"]


@pytest.mark.parametrize(("task", "column", "kind"), [("grounding", 3, "box"), ("entailment", 5, "label")])
def test_rows_without_truth(scored, task_data, read_tsv, tmp_path, task, column, kind):
    rows = read_tsv(task_data(task) / "test.tsv")
    for row in rows[1:]:
        row[column] = ""
    (tmp_path / "test.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    output, record = scored(task, ["?"] * len(rows), data=tmp_path)
    assert (record["samples"], record["accuracy"]) == (1, 0)
    assert f"{len(rows) - 1} of {len(rows)} rows have no {kind} and were left out of the scores" in output
    rows[0][column] = ""
    (tmp_path / "test.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=f"test.tsv: no row has a {kind}, so there is nothing to score by"):
        scored(task, ["?"] * len(rows), data=tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_lost_and_foreign_rows(scored, task_data, read_tsv, task):
    total = len(read_tsv(task_data(task) / "test.tsv"))
    with pytest.raises(
        DataError, match=rf"has {total - 1} rows, .*has {total}; 1 of {total} rows .*--skip-bad-rows, --only-rows"
    ):
        scored(task, ["no"] * (total - 1))
    with pytest.raises(DataError, match="1 outputs .* have no row"):
        scored(task, ["no"] * (total + 1))


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("vqa", ["0", "i", "what?", "sure|!+yes", "", "AAAA"], "row 1: the answers .*'sure|!.yes'"),
        ("vqa", ["0", "i", "what?"], "row 1: 3 columns, expected 6"),
        ("grounding", ["0", "i", "the dog", "1,2,3", "AAAA"], "row 1: the box .*'1,2,3'"),
        ("grounding", ["0", "i", "the dog", "1,2,3,4", "AAAA"], "row 1: the image is in no format"),
        ("entailment", ["0", "i", "AAAA", "a dog", "a cat", "true"], "row 1: the label .*'true'"),
    ],
)
def test_damaged_rows(scored, tmp_path, task, row, message):
    (tmp_path / "test.tsv").write_text("\t".join(row) + "\n")
    with pytest.raises(DataError, match=message):
        scored(task, ["no"], data=tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_missing_files(tmp_path, write_generated, task):
    with pytest.raises(DataError, match="generate-test.txt: no such file"):
        run(task, "--results", tmp_path / "generate-test.txt", "--data", tmp_path)
    with pytest.raises(DataError, match="test.tsv: no such file"):
        run(task, "--results", write_generated(tmp_path, ["no"]), "--data", tmp_path)


def test_files_that_cannot_be_written(scored, numbered, tmp_path):
    rows, folder = numbered
    with pytest.raises(UsageError, match="--submission .*cannot be written"):
        scored("vqa", ["no"] * len(rows), "--submission", tmp_path, data=folder)
    with pytest.raises(UsageError, match="--json .*cannot be written"):
        scored("vqa", ["no"] * len(rows), "--json", tmp_path, data=folder)

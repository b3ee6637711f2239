"""``narvl report``: one table, all figures, the picture grid, and one clear error for each bad input."""

from __future__ import annotations

import argparse
import base64
import io
import json

import pytest
from PIL import Image

from narvl.commands import report
from narvl.errors import DataError, UsageError
from narvl.scenes.world import Scene, SceneObject

TRUE = "a red circle is to the left of a blue square"
FALSE = "a blue square is to the left of a red circle"
OBJECTS = (
    SceneObject("circle", "red", "large", (4, 20, 28, 44)),
    SceneObject("square", "blue", "small", (46, 26, 59, 39)),
)


def run(*argv):
    parser = argparse.ArgumentParser(prog="narvl report")
    report.add_arguments(parser)
    report.run(parser.parse_args([str(argument) for argument in argv]))


def png(colour):
    data = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(data, "PNG")
    return base64.urlsafe_b64encode(data.getvalue()).decode()


def write_run(folder, texts, **changes):
    folder.mkdir()
    lines = [f"D-{index}\t-0.5\t{text}\n" for index, text in enumerate(texts)]
    (folder / "generate-test.txt").write_text("".join(lines))
    record = {
        "task": "captioning",
        "split": "test",
        "metrics": {"BLEU-4": 0.364, "CIDEr": 1.231, "METEOR": 0.287},
        "not_run": {},
        "tokenizer": "PTB",
        "samples": len(texts),
        "faithfulness": {"faithful": 0.9, "ungrammatical": 0.025, "statements": 2.0, "samples": len(texts)},
        "provenance": {"commit": "abc"},
    }
    (folder / "scores-test.json").write_text(json.dumps({**record, **changes}))
    return folder


def timing(name, decoding, median):
    row = {"name": name, "decoding": decoding, "median_ms": median, "p95_ms": median + 1}
    return {**row, "encoder_ms": 4.0, "decoder_ms": median - 4, "speedup": 1.0}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    rows = [f"{i}\timage-{i}\t{TRUE}&&another\t\t{png(colour)}\n" for i, colour in enumerate(["red", "lime", "blue"])]
    (folder / "test.tsv").write_text("".join(rows))
    truth = [Scene(f"image-{index}", 64, "white", OBJECTS).to_json() + "\n" for index in range(3)]
    (folder / "test.scenes.jsonl").write_text("".join(truth))
    return folder


@pytest.fixture
def arguments(tmp_path, data):
    teacher = write_run(tmp_path / "ar", [TRUE] * 3)
    changes = {"BLEU-4": 0.35, "CIDEr": 1.2, "METEOR": None}
    student = write_run(tmp_path / "nar", [FALSE, "", TRUE], metrics=changes, not_run={"METEOR": "needs Java"})
    timings = [timing("AR teacher", "AR beam 5", 40.0), timing("AR teacher", "AR greedy", 20.0)]
    timings.append(timing("NARVL", "parallel", 8.0))
    (tmp_path / "latency.json").write_text(json.dumps({"rows": timings, "provenance": {"command": "narvl latency"}}))
    out = ["--data", data, "--out", tmp_path / "out"]
    return [*out, "--run", f"AR teacher={teacher}", "--run", f"NARVL={student}"]


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_one_table_with_quality_and_speed(tmp_path, arguments, capsys):
    run(*arguments, "--latency", tmp_path / "latency.json")
    output = capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text() == output
    teacher, greedy, narvl = cells(output)
    assert teacher == {
        "run": "AR teacher",
        "decoding": "AR beam 5",
        "BLEU-4": "36.4",
        "CIDEr": "123.1",
        "METEOR": "28.7",
        "faithful": "90.0%",
        "ungrammatical": "2.5%",
        "median ms": "40.0",
        "p95 ms": "41.0",
        "speed-up": "1.0x",
    }
    assert (greedy["run"], greedy["decoding"], greedy["CIDEr"], greedy["speed-up"]) == (
        "AR teacher",
        "AR greedy",
        "not run",
        "2.0x",
    )
    assert (narvl["CIDEr"], narvl["METEOR"], narvl["speed-up"]) == ("120.0", "not run", "5.0x")
    assert "METEOR of NARVL was not run: needs Java" in output
    assert "multiplied by 100" in output


def test_results_hold_all_figures_and_their_origin(tmp_path, arguments):
    run(*arguments, "--latency", tmp_path / "latency.json")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["AR teacher", "AR teacher", "NARVL"]
    assert results["rows"][0]["scores"]["provenance"] == {"commit": "abc"}
    assert results["rows"][2]["latency"]["decoder_ms"] == 4.0
    assert results["rows"][2]["speedup"] == pytest.approx(5)
    assert results["latency_provenance"] == {"command": "narvl latency"}
    assert results["provenance"]["versions"]["torch"]


def test_without_latency_and_scenes_the_table_has_no_empty_columns(data, arguments, capsys, tmp_path):
    (data / "test.scenes.jsonl").unlink()
    for name in ("ar", "nar"):
        path = tmp_path / name / "scores-test.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "faithfulness": None}))
    run(*arguments)
    output = capsys.readouterr().out
    assert list(cells(output)[0]) == ["run", "BLEU-4", "CIDEr", "METEOR"]
    assert "speed-up" not in output


def test_a_run_without_latency_is_marked_and_logged(tmp_path, arguments, capsys, caplog):
    (tmp_path / "latency.json").write_text(json.dumps({"rows": [timing("AR teacher", "AR beam 5", 40.0)]}))
    run(*arguments, "--latency", tmp_path / "latency.json")
    narvl = cells(capsys.readouterr().out)[1]
    assert (narvl["decoding"], narvl["median ms"], narvl["speed-up"]) == ("not run",) * 3
    assert "no row named 'NARVL'; its rows are: AR teacher" in caplog.text


def test_grid_shows_each_picture_with_marks(tmp_path, arguments, monkeypatch):
    from narvl.evaluation import grid

    drawn = []
    draw_grid = grid.draw_grid
    monkeypatch.setattr(
        grid, "draw_grid", lambda pictures, title, marks: drawn.append((pictures, title)) or draw_grid(pictures, title)
    )
    run(*arguments)
    ((pictures, title),) = drawn
    assert title == "scenes, test"
    assert [picture.image.getpixel((8, 8)) for picture in pictures] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert [(caption.label, caption.text, caption.right) for caption in pictures[0].captions] == [
        ("reference", TRUE, None),
        ("AR teacher", TRUE, True),
        ("NARVL", FALSE, False),
    ]
    assert [picture.captions[2].right for picture in pictures] == [False, False, True]
    with Image.open(tmp_path / "out" / "grid.png") as image:
        assert image.width > 3 * grid.SIDE


@pytest.mark.parametrize(("images", "shown"), [(1, [0]), (2, [0, 1]), (99, [0, 1, 2])])
def test_number_of_pictures(arguments, monkeypatch, images, shown):
    from narvl.evaluation import grid

    drawn = []
    monkeypatch.setattr(
        grid, "draw_grid", lambda pictures, title, marks: drawn.extend(pictures) or Image.new("RGB", (1, 1))
    )
    run(*arguments, "--images", images)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert [colours.index(picture.image.getpixel((8, 8))) for picture in drawn] == shown


@pytest.mark.parametrize("value", ["NARVL", "=runs/narvl", "NARVL="])
def test_malformed_run(arguments, value):
    with pytest.raises(UsageError, match="--run .*give NAME=DIR"):
        run(*arguments, "--run", value)


def test_flags(tmp_path, arguments):
    with pytest.raises(UsageError, match="'NARVL' is given twice"):
        run(*arguments, "--run", "NARVL=x")
    with pytest.raises(UsageError, match="--images 0"):
        run(*arguments, "--images", 0)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--out .*cannot be written"):
        run(*arguments, "--out", tmp_path / "file")


def test_missing_scores_name_the_command_that_makes_them(tmp_path, arguments):
    (tmp_path / "nar" / "scores-test.json").unlink()
    with pytest.raises(
        DataError, match=r"nar/scores-test.json: no such file. Make it with: narvl score captioning --results"
    ):
        run(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "a JSON object is expected, this is a list"),
        ('{"task": "captioning", "split": "test"}', "no faithfulness, metrics, not_run, samples, tokenizer in it"),
    ],
)
def test_damaged_scores(tmp_path, arguments, text, message):
    (tmp_path / "nar" / "scores-test.json").write_text(text)
    with pytest.raises(DataError, match=f"nar/scores-test.json: {message}.*narvl score captioning"):
        run(*arguments)


def test_scores_that_do_not_compare(tmp_path, data):
    teacher = write_run(tmp_path / "ar", [TRUE] * 3)
    arguments = ["--data", data, "--out", tmp_path / "out", "--run", f"AR={teacher}"]
    other = write_run(tmp_path / "other", [TRUE] * 3, tokenizer="Python")
    with pytest.raises(DataError, match="different tokenizers"):
        run(*arguments, "--run", f"other={other}")
    valid = write_run(tmp_path / "valid", [TRUE] * 3, split="valid")
    with pytest.raises(DataError, match="captioning on split 'valid', but the report is on captioning, --split test"):
        run(*arguments, "--run", f"valid={valid}")
    short = write_run(tmp_path / "short", [TRUE] * 2)
    with pytest.raises(DataError, match=r"short/generate-test.txt: has 2 rows, .*test.tsv has 3"):
        run(*arguments, "--run", f"short={short}")


def test_damaged_latency(tmp_path, arguments):
    (tmp_path / "latency.json").write_text('{"rows": [{"name": "NARVL"}]}')
    with pytest.raises(
        DataError, match="latency.json: 'rows' must be a list of objects with name, decoding, median_ms"
    ):
        run(*arguments, "--latency", tmp_path / "latency.json")
    with pytest.raises(DataError, match="no such file. Make it with: narvl latency"):
        run(*arguments, "--latency", tmp_path / "none.json")


def test_broken_image_names_its_row(data, arguments):
    rows = (data / "test.tsv").read_text().splitlines()
    rows[1] = rows[1].rsplit("\t", 1)[0] + "\t!!!"
    (data / "test.tsv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="test.tsv.*2.*not base64"):
        run(*arguments)

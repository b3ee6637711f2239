"""``narvl score``: the table, the JSON file, and one clear error for each bad input."""

from __future__ import annotations

import argparse
import json
import random
import shutil

import pytest

from narvl.commands import score
from narvl.errors import DataError, UsageError
from narvl.evaluation import tokenizers
from narvl.scenes.captions import write_captions
from narvl.scenes.world import sample_scene


@pytest.fixture(autouse=True)
def no_java(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)


def run(*argv):
    parser = argparse.ArgumentParser(prog="narvl score")
    score.add_arguments(parser)
    score.run(parser.parse_args([str(argument) for argument in argv]))


def write_results(folder, texts):
    path = folder / "generate-test.txt"
    path.write_text("".join(f"H-{index}\t-0.5\t1 2\nD-{index}\t-0.5\t{text}\n" for index, text in texts.items()))
    return path


@pytest.fixture
def scenes(tmp_path):
    """A test split of four scenes with two true captions each; returns the first caption of each."""
    drawn = [sample_scene(5, "test", index) for index in range(4)]
    captions = [write_captions(scene, random.Random(scene.image_id), 2) for scene in drawn]
    rows = [
        f"{index}\t{scene.image_id}\t{'&&'.join(texts)}\t\tAAAA\n"
        for index, (scene, texts) in enumerate(zip(drawn, captions, strict=True))
    ]
    (tmp_path / "test.tsv").write_text("".join(rows))
    (tmp_path / "test.scenes.jsonl").write_text("".join(scene.to_json() + "\n" for scene in drawn))
    return {index: texts[0] for index, texts in enumerate(captions)}


def test_results_of_another_split_are_refused(tmp_path, scenes):
    results = write_results(tmp_path, scenes)
    shutil.copy(tmp_path / "test.tsv", tmp_path / "valid.tsv")
    with pytest.raises(UsageError, match="generate-test.txt: named after the split test, and to be scored by valid"):
        run("captioning", "--results", results, "--data", tmp_path, "--split", "valid")
    other = results.rename(tmp_path / "said.txt")
    run("captioning", "--results", other, "--data", tmp_path)


def test_perfect_captions(tmp_path, scenes, capsys):
    results = write_results(tmp_path, scenes)
    run("captioning", "--results", results, "--data", tmp_path, "--json", tmp_path / "new" / "scores-test.json")
    table = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "100.0" in line)
    assert {name.strip() for name in table} >= {"BLEU-1 (x100)", "BLEU-4 (x100)", "ROUGE-L (x100)", "faithful"}

    record = json.loads((tmp_path / "new" / "scores-test.json").read_text())
    assert (record["task"], record["split"], record["samples"]) == ("captioning", "test", 4)
    assert record["metrics"]["BLEU-4"] == pytest.approx(1, abs=1e-6)
    assert record["metrics"]["METEOR"] is None and "needs Java" in record["not_run"]["METEOR"]
    assert record["tokenizer"] == tokenizers.PYTHON
    assert record["faithfulness"]["faithful"] == 1 and record["faithfulness"]["ungrammatical"] == 0
    assert record["provenance"]["versions"]["python"]
    assert str(tmp_path) not in json.dumps(record["not_run"]) + json.dumps(record["provenance"])


def test_faithfulness_counts_false_and_ungrammatical_captions(tmp_path, scenes, capsys):
    results = write_results(tmp_path, {**scenes, 1: "there there", 3: ""})
    run("captioning", "--results", results, "--data", tmp_path, "--json", tmp_path / "scores-test.json")
    output = capsys.readouterr().out
    assert "faithful" in output and "50.00%" in output
    assert "METEOR was not run: needs Java" in output
    found = json.loads((tmp_path / "scores-test.json").read_text())["faithfulness"]
    assert (found["faithful"], found["ungrammatical"], found["samples"]) == (0.5, 0.5, 4)


def test_photos_have_no_faithfulness(tmp_path, scenes, capsys):
    (tmp_path / "test.scenes.jsonl").unlink()
    run("captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path, "--json", tmp_path / "s.json")
    assert "faithful" not in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["faithfulness"] is None


def test_spice_flag_allows_the_download(tmp_path, scenes, monkeypatch):
    asked = []

    def spice(references, hypotheses, *, download):
        asked.append(download)
        return 0.5

    from narvl.evaluation import java_metrics

    monkeypatch.setattr(java_metrics, "spice", spice)
    results = write_results(tmp_path, scenes)
    run("captioning", "--results", results, "--data", tmp_path)
    run("captioning", "--results", results, "--data", tmp_path, "--spice")
    assert asked == [False, True]


def test_missing_files(tmp_path, scenes):
    results = tmp_path / "generate-test.txt"
    with pytest.raises(DataError, match="generate-test.txt: no such file.*fairseq-generate"):
        run("captioning", "--results", results, "--data", tmp_path)
    write_results(tmp_path, scenes)
    with pytest.raises(DataError, match="valid.tsv: no such file"):
        run("captioning", "--results", results, "--data", tmp_path, "--split", "valid")


def test_lost_row(tmp_path, scenes):
    del scenes[2]
    message = r"has 3 rows, .*has 4; 1 of 4 rows \(ids, counted from 0: 2\) have no hypothesis.*--skip-bad-rows"
    with pytest.raises(DataError, match=message):
        run("captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path)


def test_server_file_of_captions(tmp_path, scenes, capsys):
    rows = [line.split("\t") for line in (tmp_path / "test.tsv").read_text().splitlines()]
    ids = ["391895", "COCO_val2014_000000522418", "COCO_test2014_000000000001.jpg", "0"]
    for row, image_id in zip(rows, ids, strict=True):
        row[1] = image_id
    (tmp_path / "test.scenes.jsonl").unlink()
    (tmp_path / "test.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    results = write_results(tmp_path, {**scenes, 3: ""})
    path = tmp_path / "new" / "captions_test2014_narvl_results.json"
    run("captioning", "--results", results, "--data", tmp_path, "--submission", path)
    output = capsys.readouterr().out
    assert "BLEU-4" in output and "4 entries for the evaluation server" in output
    assert json.loads(path.read_text()) == [
        {"image_id": 391895, "caption": scenes[0]},
        {"image_id": 522418, "caption": scenes[1]},
        {"image_id": 1, "caption": scenes[2]},
        {"image_id": 0, "caption": ""},
    ]


def test_captions_without_references(tmp_path, scenes, capsys):
    """A server's test split: the submission is written, and there is nothing to score."""
    blank = [f"{index}\t{index + 5}\t\t\tAAAA\n" for index in range(4)]
    (tmp_path / "test.tsv").write_text("".join(blank))
    arguments = ["captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path]
    with pytest.raises(DataError, match="test.tsv: no row has a reference caption.*--submission"):
        run(*arguments)
    run(*arguments, "--submission", tmp_path / "s.json", "--json", tmp_path / "scores-test.json")
    output = capsys.readouterr().out
    assert "test.tsv has no reference captions: nothing was scored" in output
    assert "scores-test.json was not written: nothing was scored" in output
    assert not (tmp_path / "scores-test.json").exists()
    assert [entry["image_id"] for entry in json.loads((tmp_path / "s.json").read_text())] == [5, 6, 7, 8]


def test_some_captions_without_references_are_left_out(tmp_path, scenes, capsys):
    rows = [line.split("\t") for line in (tmp_path / "test.tsv").read_text().splitlines()]
    rows[1][2] = " && "
    (tmp_path / "test.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    results = write_results(tmp_path, {**scenes, 1: "there there"})
    run("captioning", "--results", results, "--data", tmp_path, "--json", tmp_path / "s.json")
    assert "1 of 4 rows have no caption and were left out" in capsys.readouterr().out
    record = json.loads((tmp_path / "s.json").read_text())
    assert record["samples"] == record["faithfulness"]["samples"] == 3
    assert record["faithfulness"]["faithful"] == 1


def test_ids_that_no_server_takes(tmp_path, scenes):
    arguments = ["captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path, "--submission"]
    with pytest.raises(DataError, match=r"test.tsv, row 1: the image-id is 'test-000000'"):
        run(*arguments, tmp_path / "s.json")
    rows = [f"{index}\t{index // 2}\ta dog\t\tAAAA\n" for index in range(4)]
    (tmp_path / "test.scenes.jsonl").unlink()
    (tmp_path / "test.tsv").write_text("".join(rows))
    with pytest.raises(DataError, match="rows 1 and 2 both have the image_id 0"):
        run(*arguments, tmp_path / "s.json")
    (tmp_path / "test.tsv").write_text("".join(rows[::2]))
    write_results(tmp_path, {0: "a dog", 1: "a dog"})
    with pytest.raises(UsageError, match="--submission .*cannot be written"):
        run(*arguments, tmp_path)


def test_json_that_cannot_be_written(tmp_path, scenes):
    with pytest.raises(UsageError, match="--json .*cannot be written"):
        run("captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path, "--json", tmp_path)


def test_task_is_required(capsys):
    with pytest.raises(SystemExit):
        run()
    assert "TASK" in capsys.readouterr().err

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


def test_perfect_captions(tmp_path, scenes, capsys):
    results = write_results(tmp_path, scenes)
    run("captioning", "--results", results, "--data", tmp_path, "--json", tmp_path / "new" / "scores.json")
    table = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "100.0" in line)
    assert {name.strip() for name in table} >= {"BLEU-1 (x100)", "BLEU-4 (x100)", "ROUGE-L (x100)", "faithful"}

    record = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert (record["task"], record["split"], record["samples"]) == ("captioning", "test", 4)
    assert record["metrics"]["BLEU-4"] == pytest.approx(1, abs=1e-6)
    assert record["metrics"]["METEOR"] is None and "needs Java" in record["not_run"]["METEOR"]
    assert record["tokenizer"] == tokenizers.PYTHON
    assert record["faithfulness"]["faithful"] == 1 and record["faithfulness"]["ungrammatical"] == 0
    assert record["provenance"]["versions"]["python"]
    assert str(tmp_path) not in json.dumps(record["not_run"]) + json.dumps(record["provenance"])


def test_faithfulness_counts_false_and_ungrammatical_captions(tmp_path, scenes, capsys):
    results = write_results(tmp_path, {**scenes, 1: "there there", 3: ""})
    run("captioning", "--results", results, "--data", tmp_path, "--json", tmp_path / "scores.json")
    output = capsys.readouterr().out
    assert "faithful" in output and "50.00%" in output
    assert "METEOR was not run: needs Java" in output
    found = json.loads((tmp_path / "scores.json").read_text())["faithfulness"]
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
    with pytest.raises(DataError, match=r"1 of 4 rows \(ids, counted from 0: 2\) have no hypothesis"):
        run("captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path)


def test_json_that_cannot_be_written(tmp_path, scenes):
    with pytest.raises(UsageError, match="--json .*cannot be written"):
        run("captioning", "--results", write_results(tmp_path, scenes), "--data", tmp_path, "--json", tmp_path)


def test_task_is_required(capsys):
    with pytest.raises(SystemExit):
        run()
    assert "TASK" in capsys.readouterr().err

"""``narvl prepare snli-ve``: the JSON lines as published, premises as captions, labels nobody agreed on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from narvl.data import entailment
from narvl.errors import DataError, UsageError

DataSet = Any


def pair(number: int, image: Any, label: Any, **changes: Any) -> dict[str, Any]:
    """A line, with the fields of the real files."""
    return {
        "annotator_labels": [label],
        "captionID": f"{image}#2",
        "gold_label": label,
        "pairID": f"{image}#2r1{number}",
        "sentence1": "Two women are\tembracing.",
        "sentence1_binary_parse": "( ( Two women ) embracing )",
        "sentence1_parse": "(ROOT (S (NP Two women)))",
        "sentence2": f"The sisters are hugging {number} && more.",
        "sentence2_binary_parse": "( The sisters )",
        "sentence2_parse": "(ROOT (S (NP The sisters)))",
        "Flickr30K_ID": image,
        **changes,
    }


TRAIN = [
    pair(1, "4705552913", "neutral"),
    pair(2, "36979", "entailment"),
    pair(3, "4705552913", "-"),
    pair(4, "4705552913.jpg", "contradiction"),
]


def write(data: DataSet, split: str, pairs: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in pairs)
    (data.raw / f"snli_ve_{split}.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def snli_ve(make_data_set: Callable[[str, str], DataSet]) -> DataSet:
    data = make_data_set("snli-ve", "entailment")
    for index, name in enumerate(("4705552913", "36979", "555")):
        data.image(f"{name}.jpg", seed=index)
    write(data, "train", TRAIN)
    write(data, "dev", [pair(5, 555, "neutral")])
    misspelt = pair(6, "555", "entailment")
    misspelt["Flikr30kID"] = misspelt.pop("Flickr30K_ID")
    write(data, "test", [misspelt])
    return data


def test_all_splits(snli_ve: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    snli_ve.prepare()
    premise = "Two women are embracing."
    assert snli_ve.rows("train") == [
        ["4705552913#2r11", "4705552913", "The sisters are hugging 1 more.", premise, "neutral"],
        ["4705552913.jpg#2r14", "4705552913", "The sisters are hugging 4 more.", premise, "contradiction"],
        ["36979#2r12", "36979", "The sisters are hugging 2 more.", premise, "entailment"],
    ]
    assert snli_ve.rows("valid") == [["555#2r15", "555", "The sisters are hugging 5 more.", premise, "neutral"]]
    assert snli_ve.rows("test") == [["555#2r16", "555", "The sisters are hugging 6 more.", premise, "entailment"]]
    assert snli_ve.summary()["skipped"] == {"without an agreed label (gold_label '-')": 1}
    assert "left out: 1 rows without an agreed label (gold_label '-')" in capsys.readouterr().out


def test_the_task_reads_the_label(snli_ve: DataSet) -> None:
    snli_ve.prepare()
    assert [entailment.label(row) for row in snli_ve.full_rows("train")] == ["maybe", "no", "yes"]


def test_files_that_are_not_there(snli_ve: DataSet, caplog: pytest.LogCaptureFixture) -> None:
    (snli_ve.raw / "snli_ve_dev.jsonl").unlink()
    snli_ve.prepare()
    assert list(snli_ve.summary()["splits"]) == ["train", "test"]
    assert "no snli_ve_dev.jsonl; the split valid is left out" in caplog.text
    with pytest.raises(UsageError, match=r"holds none of snli_ve_dev\.jsonl"):
        snli_ve.prepare("--splits", "valid")


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown label": ({"gold_label": "entailmnt"}, "its gold_label is 'entailmnt'", "of an unknown label"),
    "no label": ({"gold_label": None}, "its gold_label is None", "of an unknown label"),
    "no hypothesis": ({"sentence2": " "}, "its sentence2 is ' '", "with an empty sentence2"),
    "premise that is no text": ({"sentence1": ["a"]}, "its sentence1 is ['a']", "without a usable sentence1"),
    "no image id": ({"Flickr30K_ID": None}, "its Flickr30K_ID is None", "without a usable Flickr30K_ID"),
    "no id": ({"pairID": ""}, "its pairID is ''", "without a usable pairID"),
    "repeated id": ({"pairID": "4705552913#2r11"}, "'4705552913#2r11' is an earlier row's", "with a repeated pairID"),
    "missing image": ({"Flickr30K_ID": "77"}, "no such image file: 77.jpg", "of a missing image"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_stop_the_command_or_are_skipped_and_counted(
    snli_ve: DataSet, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    changes, message, reason = BAD[kind]
    write(snli_ve, "train", [TRAIN[0], {**TRAIN[1], **changes}])
    snli_ve.refused(DataError, "snli_ve_train.jsonl, row 2", message, "--skip-bad-rows")
    with caplog.at_level(logging.WARNING):
        snli_ve.prepare("--skip-bad-rows")
    assert message in caplog.text
    assert snli_ve.summary()["skipped"] == {reason: 1}
    assert len(snli_ve.rows("train")) == 1


def test_a_premise_that_is_missing_leaves_the_caption_empty(snli_ve: DataSet) -> None:
    write(snli_ve, "dev", [pair(5, "555", "neutral", sentence1=None)])
    snli_ve.prepare()
    assert snli_ve.rows("valid")[0][3] == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1}\n\n{"a"\n', "row 1: its pairID is None"),
        (b"\n{oops}\n", "row 2: no JSON"),
        (b"[1]\n", "row 1: [1] is no"),
        (b'"\xff"\n', "not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", "row 1: no JSON"),
        (b"[" * 100_000 + b"\n", "row 1: no JSON"),
    ],
)
def test_damaged_files(snli_ve: DataSet, text: bytes, message: str) -> None:
    (snli_ve.raw / "snli_ve_train.jsonl").write_bytes(text)
    snli_ve.refused(DataError, "snli_ve_train.jsonl", message)


def test_blank_lines_and_windows_line_ends(snli_ve: DataSet) -> None:
    text = "\ufeff" + json.dumps(TRAIN[0]) + "\r\n\r\n" + json.dumps({**TRAIN[1], "sentence2": "a\u2028b"}) + "\r\n"
    (snli_ve.raw / "snli_ve_train.jsonl").write_bytes(text.encode())
    snli_ve.prepare()
    assert [row[2] for row in snli_ve.rows("train")] == ["The sisters are hugging 1 more.", "a b"]

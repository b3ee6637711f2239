"""``narvl prepare gqa``: the balanced question files as published."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from narvl.errors import DataError, UsageError

DataSet = Any


def question(image: Any, text: Any, answer: Any = None) -> dict[str, Any]:
    """A question's record, with the fields of the real files (those with a program and annotations among them)."""
    record = {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": ["02930160"],
        "equivalent": ["02930152"],
        "question": text,
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": answer,
        "semanticStr": "select: sky (2486325)->verify color: dark [0]",
        "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {"2": "2486325"}},
        "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify"},
        "fullAnswer": "Yes, the sky is dark.",
    }
    return record if answer is not None else {key: record[key] for key in ("question", "imageId", "isBalanced")}


TRAIN = {
    "02930152": question("2354786", "Is the sky dark?", "yes"),
    "07333408": question("n161313", "What is on\tthe wall?", "Pipe"),
    "07333405": question("2354786", "Is it overcast?", "no"),
}


@pytest.fixture
def gqa(make_data_set: Callable[[str, str], DataSet]) -> DataSet:
    data = make_data_set("gqa", "vqa")
    for index, image in enumerate(("2354786", "n161313", "n57", "99")):
        data.image(f"{image}.jpg", seed=index)
    data.write("train_balanced_questions.json", TRAIN)
    data.write("val_balanced_questions.json", {"1": question("99", "Which colour?", "yes")})
    data.write("testdev_balanced_questions.json", {"20": question("n57", "Is it red?", "no")})
    data.write("test_balanced_questions.json", {"30": question("n57", "Is it blue?")})
    return data


def test_all_splits(gqa: DataSet) -> None:
    gqa.prepare()
    assert gqa.rows("train") == [
        ["02930152", "2354786", "Is the sky dark?", "1.0|!+yes", ""],
        ["07333405", "2354786", "Is it overcast?", "1.0|!+no", ""],
        ["07333408", "n161313", "What is on the wall?", "1.0|!+pipe", ""],
    ]
    assert gqa.rows("valid") == [["1", "99", "Which colour?", "1.0|!+yes", ""]]
    assert gqa.rows("testdev") == [["20", "n57", "Is it red?", "1.0|!+no", ""]]
    assert gqa.rows("test") == [["30", "n57", "Is it blue?", "", ""]]
    assert gqa.summary()["splits"]["testdev"]["published"] == {"rows": 12_578, "images": 398}


def test_candidates_come_from_train_and_valid(gqa: DataSet) -> None:
    gqa.prepare()
    assert (gqa.out / "candidates.txt").read_text() == "yes\nno\npipe\n"
    gqa.prepare("--min-answer-count", "2")
    assert (gqa.out / "candidates.txt").read_text() == "yes\n"


def test_objects(gqa: DataSet) -> None:
    path = gqa.write("objects.json", {"n161313": ["pipe", "wall"]})
    gqa.prepare("--objects", str(path))
    assert [row[4] for row in gqa.rows("train")] == ["", "", "pipe&&wall"]


def test_files_that_are_not_there(gqa: DataSet, caplog: pytest.LogCaptureFixture) -> None:
    (gqa.raw / "test_balanced_questions.json").unlink()
    gqa.prepare()
    assert list(gqa.summary()["splits"]) == ["train", "valid", "testdev"]
    assert "no test_balanced_questions.json; the split test is left out" in caplog.text
    gqa.prepare("--splits", "valid")
    assert list(gqa.summary()["splits"]) == ["valid"]
    with pytest.raises(UsageError, match=r"holds none of test_balanced_questions\.json"):
        gqa.prepare("--splits", "test")


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no answer": ({"answer": ""}, "its answer is ''", "without an answer"),
    "no question": ({"question": None}, "its question is None", "with an empty question"),
    "no image": ({"imageId": None}, "its imageId is None", "without a usable imageId"),
    "image that is no id": ({"imageId": 1.5}, "its imageId is 1.5", "without a usable imageId"),
    "missing image": ({"imageId": "77"}, "no such image file: 77.jpg", "of a missing image"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_questions_stop_the_command_or_are_skipped_and_counted(
    gqa: DataSet, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    changes, message, reason = BAD[kind]
    gqa.write("train_balanced_questions.json", {**TRAIN, "07333408": {**TRAIN["07333408"], **changes}})
    gqa.refused(DataError, "train_balanced_questions.json, question '07333408'", message, "--skip-bad-rows")
    with caplog.at_level(logging.WARNING):
        gqa.prepare("--skip-bad-rows")
    assert message in caplog.text
    assert gqa.summary()["skipped"] == {reason: 1}
    assert [row[0] for row in gqa.rows("train")] == ["02930152", "07333405"]


def test_an_id_that_occurs_twice(gqa: DataSet) -> None:
    """JSON keeps the last of equal keys; here the first stays and the second is named."""
    text = json.dumps(TRAIN)
    again = json.dumps(question("99", "Again?", "no"))
    (gqa.raw / "train_balanced_questions.json").write_text(f'{text[:-1]}, "02930152": {again}}}')
    gqa.refused(DataError, "question '02930152'", "an earlier question has the same id")
    gqa.prepare("--skip-bad-rows")
    assert gqa.summary()["skipped"] == {"with a repeated question id": 1}
    assert gqa.rows("train")[0][2] == "Is the sky dark?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "maps no ids to questions"),
        ('{"a": {"b": 1}}', "maps no ids to questions"),
        (json.dumps({**TRAIN, "5": {"question": "Why?"}}), "question '5': has no question or imageId"),
        (json.dumps(list(TRAIN.values())), "maps no ids to questions"),
    ],
)
def test_files_of_another_form(gqa: DataSet, text: str, message: str) -> None:
    (gqa.raw / "train_balanced_questions.json").write_text(text)
    gqa.refused(DataError, "train_balanced_questions.json", message)

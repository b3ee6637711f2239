"""``narvl prepare vqa``: VQA v2.0 as published, answers as the official metric counts them, candidates."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from narvl.data.vqa import answers as parse_answers
from narvl.errors import DataError, UsageError
from narvl.prepare.answers import clean_answer, voted_field

DataSet = Any

TRAIN = [(25, 0, "Where is he\tlooking?"), (9, 2, "What is on the bread?"), (25, 5, "Is it day & night &&?")]
VOTES = {
    25000: ["down"] * 4 + ["At table"] * 3 + ["skateboard", "  Down ", "table && chair"],
    9002: ["yes"] * 9 + [""],
    25005: ["yes"] * 5 + ["no"] * 5,
}


def question(image: Any, number: int, text: Any) -> dict[str, Any]:
    return {"image_id": image, "question": text, "question_id": int(image) * 1000 + number}


def annotation(question_id: int, votes: list[str]) -> dict[str, Any]:
    return {
        "question_type": "what is",
        "multiple_choice_answer": max(votes, key=votes.count),
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": index}
            for index, answer in enumerate(votes, start=1)
        ],
        "image_id": question_id // 1000,
        "answer_type": "other",
        "question_id": question_id,
    }


def write_questions(data: DataSet, name: str, questions: list[Any]) -> None:
    header = {"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {}}
    data.write(f"v2_OpenEnded_mscoco_{name}_questions.json", {**header, "data_subtype": name, "questions": questions})


def write_annotations(data: DataSet, name: str, annotations: list[Any]) -> None:
    header = {"info": {"version": "2.0"}, "data_type": "mscoco", "data_subtype": name, "license": {}}
    data.write(f"v2_mscoco_{name}_annotations.json", {**header, "annotations": annotations})


def write_train(data: DataSet, changes: dict[str, Any], votes: list[str] | None = None, **more: Any) -> None:
    """The training split, with its second question and annotation changed."""
    questions: list[dict[str, Any]] = [question(*entry) for entry in TRAIN]
    questions[1] |= changes
    annotations = [annotation(question_id, answers) for question_id, answers in VOTES.items()]
    annotations[1] = annotation(9002, votes or VOTES[9002]) | more
    write_questions(data, "train2014", questions)
    write_annotations(data, "train2014", annotations)


@pytest.fixture
def vqa(make_data_set: Callable[[str, str], DataSet]) -> DataSet:
    data = make_data_set("vqa", "vqa")
    for folder, image in [("train2014", 25), ("train2014", 9), ("val2014", 42), ("test2015", 1), ("test2015", 14)]:
        data.image(f"{folder}/COCO_{folder}_{image:012d}.jpg", seed=image)
    write_train(data, {})
    write_questions(data, "val2014", [question("42", 0, "Is this a dog?")])
    write_annotations(data, "val2014", [annotation(42000, ["yes"] * 10)])
    write_questions(data, "test2015", [question(1, 0, "How many?"), question(14, 1, "Which one?")])
    write_questions(data, "test-dev2015", [question(14, 1, "Which one?")])
    return data


def test_all_splits(vqa: DataSet) -> None:
    vqa.prepare()
    assert vqa.rows("train") == [
        [
            "25000",
            "25",
            "Where is he looking?",
            "1.0|!+down&&0.9|!+at table&&0.3|!+skateboard&&0.3|!+table chair",
            "",
        ],
        ["25005", "25", "Is it day & night ?", "1.0|!+yes&&1.0|!+no", ""],
        ["9002", "9", "What is on the bread?", "1.0|!+yes", ""],
    ]
    assert vqa.rows("valid") == [["42000", "42", "Is this a dog?", "1.0|!+yes", ""]]
    assert vqa.rows("test") == [["1000", "1", "How many?", "", ""], ["14001", "14", "Which one?", "", ""]]
    assert vqa.rows("test-dev") == [["14001", "14", "Which one?", "", ""]]
    assert list(vqa.summary()["splits"]) == ["train", "valid", "test", "test-dev"]


def test_the_task_reads_the_answers(vqa: DataSet) -> None:
    vqa.prepare()
    row = vqa.full_rows("train")[0]
    assert parse_answers(row) == [(1.0, "down"), (0.9, "at table"), (0.3, "skateboard"), (0.3, "table chair")]
    assert parse_answers(vqa.full_rows("test")[0]) == []


@pytest.mark.parametrize("count", range(1, 11))
def test_confidence_is_the_score_expected_of_the_official_metric(count: int) -> None:
    """The metric averages min(n/3, 1) over the ten ways to leave one of ten people out."""
    votes = ["this"] * count + [f"other {index}" for index in range(10 - count)]
    expected = sum(
        min(Fraction((votes[:left_out] + votes[left_out + 1 :]).count("this"), 3), Fraction(1))
        for left_out in range(10)
    )
    confidence = voted_field(votes).split("&&")[0].split("|!+")[0]
    assert Fraction(confidence) == expected / 10


def test_answers_that_would_break_the_column() -> None:
    assert voted_field(map(clean_answer, ["a|!+b", "A\tB", "&&", None, 5])) == "0.6|!+a b"
    assert voted_field([]) == ""


def test_candidates_are_the_most_common_answers_of_enough_questions(vqa: DataSet) -> None:
    vqa.prepare()
    assert (vqa.out / "candidates.txt").read_text() == ""
    vqa.prepare("--min-answer-count", "1")
    assert (vqa.out / "candidates.txt").read_text() == "yes\ndown\n"
    vqa.prepare("--min-answer-count", "2")
    assert (vqa.out / "candidates.txt").read_text() == "yes\n"
    vqa.prepare("--min-answer-count", "2", "--splits", "valid")
    assert (vqa.out / "candidates.txt").read_text() == ""


def test_candidates_without_the_official_choice(vqa: DataSet) -> None:
    write_train(vqa, {}, multiple_choice_answer=None, votes=["red", "blue", "blue"])
    vqa.prepare("--min-answer-count", "1", "--splits", "train")
    assert (vqa.out / "candidates.txt").read_text() == "blue\ndown\nyes\n"


def test_test_splits_alone_have_no_candidates(vqa: DataSet) -> None:
    vqa.prepare("--splits", "test", "test-dev")
    assert not (vqa.out / "candidates.txt").exists()


def test_objects(vqa: DataSet) -> None:
    path = vqa.write("objects.json", {"25": ["man", "board"], "1": ["cat"]})
    vqa.prepare("--objects", str(path))
    assert [row[4] for row in vqa.rows("train")] == ["man&&board", "man&&board", ""]
    assert [row[4] for row in vqa.rows("test")] == ["cat", ""]


def test_splits_whose_files_are_not_there(vqa: DataSet, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("test2015", "test-dev2015"):
        (vqa.raw / f"v2_OpenEnded_mscoco_{name}_questions.json").unlink()
    vqa.prepare()
    assert list(vqa.summary()["splits"]) == ["train", "valid"]
    assert "no v2_OpenEnded_mscoco_test2015_questions.json; the split test is left out" in caplog.text
    (vqa.raw / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(
        UsageError, match=r"has v2_OpenEnded_mscoco_val2014_questions.json but no v2_mscoco_val2014_ann"
    ):
        vqa.prepare()
    for path in vqa.raw.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="holds none of v2_OpenEnded_mscoco_train2014_questions.json, v2_"):
        vqa.prepare()


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "no question id": ({"question_id": None}, {}, "its question_id is None", "without a usable question_id"),
    "repeated question": ({"question_id": 25000}, {}, "its question_id 25000 is taken", "with a repeated question_id"),
    "empty question": ({"question": "?"}, {}, "its question is '?'", "with an empty question"),
    "no image id": ({"image_id": "9a"}, {}, "its image_id is '9a'", "without a usable image_id"),
    "truth as an id": ({"image_id": True}, {}, "its image_id is True", "without a usable image_id"),
    "no annotation": ({"question_id": 9003}, {}, "question 9003 has no annotation", "without an annotation"),
    "other image": ({}, {"image_id": 25}, "is about image 9, its annotation about 25", "with another image in the"),
    "no usable answer": ({}, {"answers": [{"answer": " ", "answer_id": 1}]}, "no usable answer", "without an answer"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_questions_stop_the_command_or_are_skipped_and_counted(
    vqa: DataSet, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    question_changes, annotation_changes, message, reason = BAD[kind]
    write_train(vqa, question_changes, **annotation_changes)
    vqa.refused(DataError, "train2014_questions.json, questions[1]", message, "--skip-bad-rows")
    with caplog.at_level(logging.WARNING):
        vqa.prepare("--skip-bad-rows")
    assert message in caplog.text
    [(counted, count)] = vqa.summary()["skipped"].items()
    assert (counted.startswith(reason), count) == (True, 1)
    assert [row[0] for row in vqa.rows("train")] == ["25000", "25005"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_id": 25000}, "annotations[1]: question 25000 has one already"),
        ({"answers": None}, "annotations[1]: question 9002 has no list of answers"),
    ],
)
def test_bad_annotations(vqa: DataSet, changes: dict[str, Any], message: str) -> None:
    write_train(vqa, {}, **changes)
    vqa.refused(DataError, "v2_mscoco_train2014_annotations.json", message)
    vqa.prepare("--skip-bad-rows")
    assert vqa.summary()["skipped"]["without an annotation"] == 1
    assert [row[0] for row in vqa.rows("train")] == ["25000", "25005"]


def test_missing_images_count_every_question(vqa: DataSet) -> None:
    (vqa.images / "train2014" / "COCO_train2014_000000000025.jpg").unlink()
    vqa.refused(DataError, "COCO_train2014_000000000025.jpg", "lacks 1 images of 2 rows")
    vqa.prepare("--skip-bad-rows")
    assert vqa.summary()["skipped"] == {"of a missing image": 2}
    assert json.loads((vqa.out / "prepare.json").read_text())["splits"]["train"]["rows"] == 1

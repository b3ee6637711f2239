"""VQAv2's annotation files: as downloaded, and every damage named."""

from __future__ import annotations

import json

import pytest

from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import DataError
from narvl.evaluation.annotations import match_questions, read_annotations
from narvl.evaluation.vqa import RawAnswers


def annotation(question_id, answers):
    """Write an annotation as the published files do."""
    people = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(answers, start=1)
    ]
    return {
        "question_type": "what is",
        "multiple_choice_answer": answers[0] if answers else "",
        "answers": people,
        "image_id": 262148,
        "answer_type": "other",
        "question_id": question_id,
    }


def write(folder, content):
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def published(*annotations):
    return {"info": {}, "license": {}, "data_subtype": "val2014", "annotations": annotations, "data_type": "mscoco"}


def test_published_format(tmp_path):
    answers = [*["net"] * 8, "netting", "Mesh."]
    path = write(tmp_path, published(annotation(262148000, answers), annotation(262148001, ["yes"] * 10)))
    found = read_annotations(path)
    assert list(found) == ["262148000", "262148001"]
    assert found["262148000"].truth == RawAnswers(tuple(answers))
    assert (found["262148000"].answer_type, found["262148000"].question_type) == ("other", "what is")


def test_types_that_are_missing(tmp_path):
    entry = annotation(1, ["two"] * 10)
    del entry["answer_type"], entry["question_type"]
    (found,) = read_annotations(write(tmp_path, published(entry))).values()
    assert (found.answer_type, found.question_type) == ("number", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[" * 100_000, "not a readable JSON file"),
        ("[]", "no list 'annotations' in it"),
        ({"questions": []}, "no list 'annotations' in it"),
        ({"annotations": []}, "no list 'annotations' in it, or an empty one"),
        ({"annotations": [7]}, "annotation 1: not an object with a question_id: '7'"),
        ({"annotations": [{"answers": []}]}, "annotation 1: not an object with a question_id"),
        (published(annotation(1, ["a"]), annotation(1, ["a"])), "annotation 2: question 1 appears a second time"),
        (published(annotation(1, [])), "annotation 1: no list of answers in it"),
        (published(annotation(1, [3])), "annotation 1: no list of answers in it"),
        (published({**annotation(1, ["a"]), "answers": "yes"}), "annotation 1: no list of answers in it"),
        (published({**annotation(1, ["a"]), "answer_type": 4}), "annotation 1: answer_type is 4, not a text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_damaged(tmp_path, content, message):
    with pytest.raises(DataError, match=f"annotations.json.*{message}.*v2_mscoco_val2014_annotations.json"):
        read_annotations(write(tmp_path, content))


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_annotations(tmp_path / "none.json")
    with pytest.raises(DataError, match="not a readable JSON file"):
        read_annotations(tmp_path)


def test_rows_are_matched_by_question_id(tmp_path):
    (tmp_path / "test.tsv").write_text("x\n" * 3)
    rows = TsvFile(tmp_path / "test.tsv", COLUMNS["vqa"])
    path = write(tmp_path, published(annotation(5, ["a"]), annotation(7, ["b"]), annotation(9, ["c"])))
    found = match_questions(["9", "5"], rows, read_annotations(path), path)
    assert [found[index].truth.best for index in (0, 1)] == ["c", "a"]
    with pytest.raises(
        DataError,
        match=r"1 of the 3 questions of .*test.tsv are not among its 3 annotations, the first is '6' \(row 2\)",
    ):
        match_questions(["9", "6", "5"], rows, read_annotations(path), path)

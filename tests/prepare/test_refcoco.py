"""``narvl prepare refcoco``: pickle and instances as published; boxes in the frame of the image in the row."""

from __future__ import annotations

import functools
import logging
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from narvl.data import grounding
from narvl.data.image import decode_image
from narvl.errors import DataError, UsageError

DataSet = Any
SIZE = (64, 48)


def ref(ref_id: int, split: str, image: Any, ann: Any, *sentences: str) -> dict[str, Any]:
    """A reference, with the fields of the real pickles (whose file names carry the box's id)."""
    sent_ids = [10 * ref_id + index for index in range(len(sentences))]
    return {
        "sent_ids": sent_ids,
        "file_name": f"COCO_train2014_{int(image):012d}_{ann}.jpg",
        "ann_id": ann,
        "ref_id": ref_id,
        "image_id": image,
        "split": split,
        "sentences": [
            {"tokens": text.split(), "raw": text.title(), "sent_id": sent_id, "sent": text}
            for sent_id, text in zip(sent_ids, sentences, strict=True)
        ],
        "category_id": 1,
    }


REFS = [
    ref(1, "train", 581857, 1719310, "the lady with the blue shirt", "lady with\tback to us"),
    ref(2, "val", 9, 20, "bread"),
    ref(3, "testA", 581857, 30, "man"),
    ref(4, "testB", 9, 21, "left cup"),
    ref(5, "train", 581857, 30, "man in hat"),
]
BOXES = {1719310: (581857, [1.5, 2.25, 10, 20.125]), 20: (9, [0, 0, 64, 48]), 21: (9, [60.3, 40, 3.71, 8.4])}


def instances() -> dict[str, Any]:
    def image(image_id: int) -> dict[str, Any]:
        return {
            "file_name": f"COCO_train2014_{image_id:012d}.jpg",
            "height": SIZE[1],
            "width": SIZE[0],
            "id": image_id,
            "license": 1,
            "coco_url": "",
            "date_captured": "2013-11-14 16:28:13",
            "flickr_url": "",
        }

    boxes = [
        {
            "segmentation": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]],
            "area": 9.5,
            "iscrowd": 0,
            "image_id": image_id,
            "bbox": box,
            "category_id": 1,
            "id": box_id,
        }
        for box_id, (image_id, box) in BOXES.items()
    ]
    crowd = {
        "segmentation": {"counts": [272, 2, 4], "size": [48, 64]},
        "area": 18,
        "iscrowd": 1,
        "image_id": 581857,
        "bbox": [5, 6, 7, 8],
        "category_id": 1,
        "id": 30,
    }
    return {
        "info": {},
        "licenses": [],
        "images": [image(581857), image(9)],
        "annotations": [*boxes, crowd],
        "categories": [{"supercategory": "person", "id": 1, "name": "person"}],
    }


@pytest.fixture
def refcoco(make_data_set: Callable[[str, str], DataSet]) -> DataSet:
    data = make_data_set("refcoco", "grounding")
    for image_id in (581857, 9):
        data.image(f"train2014/COCO_train2014_{image_id:012d}.jpg", SIZE, seed=image_id)
    publish(data, REFS)
    data.write("instances.json", instances())
    return data


def publish(data: DataSet, refs: Any, name: str = "refs(unc).p", protocol: int = 0) -> None:
    (data.raw / name).write_bytes(pickle.dumps(refs, protocol))


def prepare(data: DataSet, *flags: str, dataset: str = "refcoco") -> None:
    data.prepare("--dataset", dataset, *flags)


def refused(data: DataSet, kind: type[ValueError], *words: str, flags: tuple[str, ...] = ()) -> None:
    data.refused(kind, *words, flags=("--dataset", "refcoco", *flags))


def test_one_row_an_expression(refcoco: DataSet) -> None:
    prepare(refcoco)
    assert refcoco.rows("train") == [
        ["10", "581857", "the lady with the blue shirt", "1.5,2.25,11.5,22.38"],
        ["11", "581857", "lady with back to us", "1.5,2.25,11.5,22.38"],
        ["50", "581857", "man in hat", "5,6,12,14"],
    ]
    assert refcoco.rows("valid") == [["20", "9", "bread", "0,0,64,48"]]
    assert refcoco.rows("testA") == [["30", "581857", "man", "5,6,12,14"]]
    # The box ends 0.01 and 0.4 pixels outside the image.
    assert refcoco.rows("testB") == [["40", "9", "left cup", "60.3,40,64,48"]]
    published = refcoco.summary()["splits"]
    assert [published[split]["published"]["rows"] for split in published] == [120_624, 10_834, 5_657, 5_095]


def test_the_task_reads_the_box(refcoco: DataSet) -> None:
    prepare(refcoco)
    assert grounding.box(refcoco.full_rows("testA")[0]) == (5.0, 6.0, 12.0, 14.0)


def test_refcocog_has_its_own_file_splits_and_sizes(refcoco: DataSet) -> None:
    publish(refcoco, [{**REFS[0], "split": "test"}, REFS[1]], "refs(umd).p")
    prepare(refcoco, dataset="refcocog")
    assert {split: figures["published"]["rows"] for split, figures in refcoco.summary()["splits"].items()} == {
        "test": 9_602,
        "valid": 4_896,
    }


def test_python_2_pickle(refcoco: DataSet) -> None:
    text = (
        b"(lp0\n(dp1\nS'sent_ids'\np2\n(lp3\nI70\nasS'file_name'\np4\nS'COCO_train2014_000000000009_20.jpg'\np5\n"
        b"sS'ann_id'\np6\nI20\nsS'ref_id'\np7\nI7\nsS'image_id'\np8\nI9\nsS'split'\np9\nS'val'\np10\nsS'sentences'\n"
        b"p11\n(lp12\n(dp13\nS'tokens'\np14\n(lp15\nS'caf\\xe9'\np16\nasS'raw'\np17\nVcaf\xe9\np18\nsS'sent_id'\np19\n"
        b"I70\nsS'sent'\np20\ng16\nsasS'category_id'\np21\nI1\nsa."
    )
    (refcoco.raw / "refs(unc).p").write_bytes(text)
    prepare(refcoco)
    assert refcoco.rows("valid") == [["70", "9", "café", "0,0,64,48"]]


def test_boxes_follow_an_image_that_is_scaled_down(refcoco: DataSet) -> None:
    prepare(refcoco, "--max-side", "16")
    [_, _, _, box, image] = refcoco.full_rows("testA")[0]
    assert decode_image(image).size == (16, 12)
    assert box == "1.25,1.5,3,3.5"


def test_the_frame_is_the_upright_image(refcoco: DataSet) -> None:
    """A camera's rotation is applied: the annotations must speak of the image as it is shown."""
    name = "train2014/COCO_train2014_000000000009.jpg"
    exif = Image.Exif()
    exif[ExifTag.Orientation] = 6
    Image.new("RGB", (SIZE[1], SIZE[0])).save(refcoco.images / name, exif=exif)
    prepare(refcoco)
    assert decode_image(refcoco.full_rows("valid")[0][4]).size == SIZE
    Image.new("RGB", SIZE).save(refcoco.images / name, exif=exif)
    refcoco.out.joinpath("valid.tsv").unlink()
    with pytest.raises(DataError, match="the image is 48 x 64 pixels, by instances.json 64 x 48"):
        prepare(refcoco)


def test_an_image_of_another_size_is_a_bad_row_for_each_expression(refcoco: DataSet) -> None:
    refcoco.image("train2014/COCO_train2014_000000581857.jpg", (32, 24))
    refused(refcoco, DataError, "000000581857.jpg: the image is 32 x 24", "box of sentence 10", "--skip-bad-rows")
    publish(refcoco, [*REFS, ref(6, "train", 9, 20, "cup")])
    prepare(refcoco, "--skip-bad-rows", "--splits", "train", "valid")
    assert refcoco.summary()["skipped"] == {"with another image size": 3}
    assert [row[0] for row in refcoco.rows("train")] == ["60"]


BAD: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "unknown split": ({"split": "tain"}, "[0]: unknown split 'tain'", "of an unknown split", 2),
    "split that is no text": ({"split": ["train"]}, "unknown split ['train']", "of an unknown split", 2),
    "unknown image": ({"image_id": 8}, "image 8 is not in instances.json", "of an unknown image", 2),
    "unknown box": ({"ann_id": 8}, "box 8 is not in instances.json", "of an unknown box", 2),
    "no box": ({"ann_id": None}, "its ann_id is None", "without a usable ann_id", 2),
    "another image's box": ({"ann_id": 20}, "box 20 belongs to image 9", "of another image's box", 2),
    "no sentences": ({"sentences": []}, "no list with entries", "without an expression", 1),
    "sentence of another form": ({"sentences": ["lady"]}, "[0].sentences[0]: 'lady' is no", "without an expression", 1),
    "empty sentence": (
        {"sentences": [{"sent": " .", "raw": "", "sent_id": 10}]},
        "[0].sentences[0]: its sent is ' .'",
        "with an empty expression",
        1,
    ),
    "no sentence id": ({"sentences": [{"sent": "lady"}]}, "its sent_id is None", "without a usable sent_id", 1),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_references_stop_the_command_or_are_skipped_and_counted(
    refcoco: DataSet, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    changes, message, reason, rows = BAD[kind]
    publish(refcoco, [{**REFS[0], **changes}, *REFS[1:]])
    refused(refcoco, DataError, "refs(unc).p, [0]", message, "--skip-bad-rows")
    with caplog.at_level(logging.WARNING):
        prepare(refcoco, "--skip-bad-rows")
    assert message in caplog.text
    assert refcoco.summary()["skipped"] == {reason: rows}
    assert [row[0] for row in refcoco.rows("train")] == ["50"]


LONG = 10**5000
NESTED = functools.reduce(lambda value, _: [value, value], range(20), ["x"])
NO_TEXTS = {"lists": NESTED, "bytes": b"a", "records": {"a": 1}, "digits": LONG, "nothing": None}
HOSTILE: dict[str, tuple[dict[str, Any], str, int]] = {
    **{
        f"sentence of {kind}": ({"sentences": [{"sent": value, "sent_id": 10}]}, "with an empty expression", 1)
        for kind, value in NO_TEXTS.items()
    },
    "endless sentence": ({"sentences": [NESTED]}, "without an expression", 1),
    "endless split": ({"split": NESTED}, "of an unknown split", 2),
    "long split": ({"split": LONG}, "of an unknown split", 2),
    "long image_id": ({"image_id": LONG}, "without a usable image_id", 2),
    "endless ann_id": ({"ann_id": NESTED}, "without a usable ann_id", 2),
    "long sent_id": ({"sentences": [{"sent": "lady", "sent_id": LONG}]}, "without a usable sent_id", 1),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_values_that_no_data_set_has(refcoco: DataSet, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    changes, reason, rows = HOSTILE[kind]
    publish(refcoco, [{**REFS[0], **changes}, *REFS[1:]], protocol=4)
    with caplog.at_level(logging.WARNING):
        prepare(refcoco, "--skip-bad-rows")
    assert len(caplog.text) < 2000
    assert refcoco.summary()["skipped"] == {reason: rows}
    assert [row[0] for row in refcoco.rows("train")] == ["50"]


def test_a_repeated_sentence(refcoco: DataSet) -> None:
    publish(refcoco, [*REFS, ref(1, "train", 9, 20, "cup")])
    refused(refcoco, DataError, "[5].sentences[0]", "its sent_id 10 is taken")
    prepare(refcoco, "--skip-bad-rows")
    assert refcoco.summary()["skipped"] == {"with a repeated sent_id": 1}


def test_what_was_typed_stands_in_for_a_sentence_that_cleaning_emptied(refcoco: DataSet) -> None:
    publish(refcoco, [{**REFS[1], "sentences": [{"sent": "", "raw": "Ω", "sent_id": 20, "tokens": []}]}])
    prepare(refcoco)
    assert refcoco.rows("valid") == [["20", "9", "Ω", "0,0,64,48"]]


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 0, 5],
        [0, 0, 5, -1],
        [70, 0, 5, 5],
        [0, 0, 70, 5],
        [-5, 0, 10, 5],
        [-0.9, 0, 0.5, 5],
        [0, 0, 5],
        [0, 0, "5", 5],
        [0, 0, float("nan"), 5],
        [0, 0, 5, True],
        [0, 0, 10**400, 5],
        None,
    ],
)
def test_impossible_boxes(refcoco: DataSet, box: Any) -> None:
    content = instances()
    content["annotations"][0]["bbox"] = box
    refcoco.write("instances.json", content)
    refused(refcoco, DataError, "refs(unc).p, [0]: box 1719310 is", "image of 64 x 48 pixels")
    prepare(refcoco, "--skip-bad-rows")
    assert refcoco.summary()["skipped"] == {"with an impossible box": 2}


def test_missing_images(refcoco: DataSet) -> None:
    (refcoco.images / "train2014" / "COCO_train2014_000000581857.jpg").unlink()
    refused(refcoco, DataError, "COCO_train2014_000000581857.jpg", "lacks 1 images of 4 rows")
    prepare(refcoco, "--skip-bad-rows")
    assert refcoco.summary()["skipped"] == {"of a missing image": 4}


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("flags", [(), ("--skip-bad-rows",)])
def test_a_hostile_pickle_is_refused_and_runs_nothing(refcoco: DataSet, flags: tuple[str, ...]) -> None:
    marker = refcoco.path / "ran"
    publish(refcoco, [*REFS, {**REFS[0], "sentences": Hostile(f"touch '{marker}'")}])
    refused(refcoco, DataError, "refs(unc).p: ", "system", "Nothing was run", flags=flags)
    assert not marker.exists() and not refcoco.out.exists()


@pytest.mark.parametrize("content", [{"refs": []}, [1], "refs"])
def test_pickles_of_another_form(refcoco: DataSet, content: Any) -> None:
    publish(refcoco, content)
    refused(refcoco, DataError, "refs(unc).p: is no list of records")


def test_files_that_are_not_there(refcoco: DataSet) -> None:
    with pytest.raises(UsageError, match=r"has no refs\(umd\)\.p\. Give the folder of refcocog"):
        prepare(refcoco, dataset="refcocog")
    (refcoco.raw / "instances.json").unlink()
    refused(refcoco, UsageError, "has no instances.json")


@pytest.mark.parametrize(("name", "where"), [("images", "record 0"), ("annotations", "record 0")])
def test_instances_without_ids(refcoco: DataSet, name: str, where: str) -> None:
    content = instances()
    del content[name][0]["id"]
    refcoco.write("instances.json", content)
    refused(refcoco, DataError, f"instances.json, {where}: its id is None")

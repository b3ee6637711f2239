"""``narvl prepare coco``: Karpathy's split as published, its corner cases, and every kind of bad record."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from narvl.data.image import decode_base64
from narvl.errors import DataError, UsageError

DataSet = Any


def image(cocoid: Any, split: str, *captions: Any, folder: str = "val2014") -> dict[str, Any]:
    """An entry of dataset_coco.json, with the fields of the real file."""
    first = 10 * int(cocoid)
    return {
        "filepath": folder,
        "sentids": [first + index for index in range(len(captions))],
        "filename": f"COCO_{folder}_{int(cocoid):012d}.jpg",
        "imgid": 0,
        "split": split,
        "sentences": [
            {"tokens": str(caption).lower().split(), "raw": caption, "imgid": 0, "sentid": first + index}
            for index, caption in enumerate(captions)
        ],
        "cocoid": cocoid,
    }


IMAGES = [
    image(522418, "restval", "A woman cutting a cake.", "She cuts\tcake && smiles\n"),
    image(9, "train", "Bread in a box", folder="train2014"),
    image(42, "val", "A dog", "Its dog, asleep.", "Shoes"),
    image(74, "test", "A bus", "A bus in the street"),
]


@pytest.fixture
def coco(make_data_set: Callable[[str, str], DataSet]) -> DataSet:
    data = make_data_set("coco", "captioning")
    for index, entry in enumerate(IMAGES):
        data.image(f"{entry['filepath']}/{entry['filename']}", seed=index)
    publish(data, IMAGES)
    return data


def publish(data: DataSet, images: list[Any]) -> None:
    data.write("dataset_coco.json", {"images": images, "dataset": "coco"})


def flags(data: DataSet, *more: str) -> tuple[str, ...]:
    return ("--annotations", str(data.raw / "dataset_coco.json"), *more)


def test_karpathys_split(coco: DataSet) -> None:
    coco.prepare(*flags(coco))
    assert coco.rows("train") == [
        ["5224180", "522418", "A woman cutting a cake.", ""],
        ["5224181", "522418", "She cuts cake smiles", ""],
        ["90", "9", "Bread in a box", ""],
    ]
    assert coco.rows("valid") == [["42", "42", "A dog&&Its dog, asleep.&&Shoes", ""]]
    assert coco.rows("test") == [["74", "74", "A bus&&A bus in the street", ""]]
    written = {path.name for path in coco.out.iterdir()}
    assert written == {"train.tsv", "valid.tsv", "test.tsv", "prepare.json", "encoder.json", "vocab.bpe", "dict.txt"}


def test_images_are_the_files(coco: DataSet) -> None:
    coco.prepare(*flags(coco))
    for row, entry in zip(coco.full_rows("valid"), [IMAGES[2]], strict=True):
        assert decode_base64(row[4]) == (coco.images / entry["filepath"] / entry["filename"]).read_bytes()


def test_image_folders_may_be_named_each_or_hold_all_files(coco: DataSet) -> None:
    coco.prepare(*flags(coco))
    expected = (coco.out / "train.tsv").read_bytes()
    coco.prepare(*flags(coco, "--images", str(coco.images / "val2014"), str(coco.images / "train2014")))
    assert (coco.out / "train.tsv").read_bytes() == expected
    for folder in ("train2014", "val2014"):
        for path in (coco.images / folder).iterdir():
            path.rename(coco.images / path.name)
    coco.prepare(*flags(coco))
    assert (coco.out / "train.tsv").read_bytes() == expected


def test_sizes_stand_beside_the_published_ones(coco: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    coco.prepare(*flags(coco))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train.tsv", "3", "566,747", "2", "113,287", "0", "0.0"] in lines
    assert ["valid.tsv", "1", "5,000", "1", "5,000", "0", "0.0"] in lines
    summary = coco.summary()
    assert summary["splits"]["train"] == {
        "rows": 3,
        "images": 2,
        "converted": 0,
        "bytes": (coco.out / "train.tsv").stat().st_size,
        "published": {"rows": 566_747, "images": 113_287},
    }
    assert summary["skipped"] == {}
    assert set(summary) == {"source", "splits", "skipped", "published", "provenance"}


def test_objects(coco: DataSet) -> None:
    path = coco.write("objects.json", {"42": ["dog", "shoe\t&& lace", ""], "9": []})
    coco.prepare(*flags(coco, "--objects", str(path)))
    assert [row[3] for row in coco.rows("valid")] == ["dog&&shoe lace"]
    assert {row[3] for row in coco.rows("train")} == {""}


@pytest.mark.parametrize("content", [["dog"], {"42": "dog"}, {"42": [1]}])
def test_objects_in_another_form(coco: DataSet, content: Any) -> None:
    path = coco.write("objects.json", content)
    coco.refused(DataError, "objects.json", flags=flags(coco, "--objects", str(path)))


def test_chosen_splits(coco: DataSet, caplog: pytest.LogCaptureFixture) -> None:
    coco.prepare(*flags(coco))
    (coco.out / "train.tsv").unlink()
    coco.prepare(*flags(coco, "--splits", "test"))
    assert not (coco.out / "train.tsv").exists()
    assert list(coco.summary()["splits"]) == ["test"]
    assert "valid.tsv: left from an earlier run" in caplog.text


def test_max_side_and_workers(coco: DataSet) -> None:
    coco.prepare(*flags(coco, "--max-side", "4", "--workers", "1"))
    one = (coco.out / "train.tsv").read_bytes()
    coco.prepare(*flags(coco, "--max-side", "4", "--workers", "3"))
    assert (coco.out / "train.tsv").read_bytes() == one
    assert coco.summary()["splits"]["train"]["converted"] == 2


def test_ids_may_be_numbers_or_texts(coco: DataSet) -> None:
    publish(coco, [*IMAGES[:2], {**IMAGES[2], "cocoid": "42"}])
    coco.prepare(*flags(coco))
    assert coco.rows("valid")[0][:2] == ["42", "42"]


BAD: dict[str, tuple[dict[str, Any], str, dict[str, int]]] = {
    "unknown split": ({**IMAGES[1], "split": "tarin"}, "unknown split 'tarin'", {"of an unknown split": 1}),
    "no id": ({**IMAGES[1], "cocoid": None}, "its cocoid is None", {"without a usable cocoid": 1}),
    "id that is no number": ({**IMAGES[1], "cocoid": "9a"}, "its cocoid is '9a'", {"without a usable cocoid": 1}),
    "repeated id": ({**IMAGES[1], "cocoid": "74"}, "its cocoid 74 is an earlier", {"with a repeated cocoid": 1}),
    "no sentences": ({**IMAGES[1], "sentences": []}, "no usable caption", {"without a caption": 1}),
    "sentences of another form": ({**IMAGES[1], "sentences": ["a"]}, "no list of records", {"without a caption": 1}),
    "blank caption": (
        image(9, "train", " \t", folder="train2014"),
        "sentences[0]: the caption is ' \\t'",
        {"with an empty caption": 1, "without a caption": 1},
    ),
    "caption of punctuation": (
        image(9, "train", "..", "Bread", folder="train2014"),
        "the caption is '..': no word",
        {"with an empty caption": 1},
    ),
    "caption that is no text": (
        image(9, "train", "Bread", 5, folder="train2014"),
        "sentences[1]: the caption is 5",
        {"with an empty caption": 1},
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_records_stop_the_command_or_are_skipped_and_counted(
    coco: DataSet, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    bad, message, counts = BAD[kind]
    publish(coco, [IMAGES[0], *IMAGES[2:], bad])
    coco.refused(DataError, "dataset_coco.json, images[3]", message, "--skip-bad-rows", flags=flags(coco))
    assert not coco.out.exists()

    with caplog.at_level(logging.WARNING):
        coco.prepare(*flags(coco, "--skip-bad-rows"))
    assert message in caplog.text
    assert coco.summary()["skipped"] == counts
    output = capsys.readouterr().out
    for reason, count in counts.items():
        assert f"left out: {count} rows {reason}\n" in output
    assert [row[1] for row in coco.rows("train")][:2] == ["522418", "522418"]


def test_missing_images_are_named_and_counted(coco: DataSet, caplog: pytest.LogCaptureFixture) -> None:
    for entry in IMAGES[:2]:
        (coco.images / entry["filepath"] / entry["filename"]).unlink()
    names = [entry["filename"] for entry in IMAGES[:2]]
    coco.refused(DataError, f"images[0]: no such image file: {names[0]}", "lacks 2 images of 3 rows", flags=flags(coco))
    assert not coco.out.exists()
    coco.prepare(*flags(coco, "--skip-bad-rows"))
    assert coco.summary()["skipped"] == {"of a missing image": 3}
    assert all(name in caplog.text for name in names)
    assert not (coco.out / "train.tsv").exists()


@pytest.mark.parametrize("name", ["../raw/secret.jpg", "/etc/hostname", "..", ""])
def test_names_that_lead_out_of_the_folder_are_not_found(coco: DataSet, name: str) -> None:
    coco.image("secret.jpg").rename(coco.raw / "secret.jpg")
    publish(coco, [{**IMAGES[2], "filename": name}])
    coco.refused(DataError, "no such image file", flags=flags(coco))
    publish(coco, [{**IMAGES[2], "filename": "secret.jpg", "filepath": "../raw"}])
    coco.refused(DataError, "no such image file", flags=flags(coco))


def test_half_characters_and_terminal_codes_do_not_reach_a_row(coco: DataSet) -> None:
    """JSON can hold what UTF-8 cannot."""
    sentences = [{"raw": "a \ud800 red\x85 dog \x1b[31m", "sentid": 1}]
    publish(coco, [{**IMAGES[0], "sentences": sentences}])
    coco.prepare(*flags(coco))
    assert [row[2] for row in coco.rows("train")] == ["a red dog [31m"]


def test_a_name_cannot_write_to_the_terminal(coco: DataSet) -> None:
    publish(coco, [{**IMAGES[0], "filename": "\x1b[2Jgone\ud800.jpg"}])
    coco.refused(DataError, r"no such image file: \x1b[2Jgone\ud800.jpg", flags=flags(coco))


def test_unreadable_images(coco: DataSet) -> None:
    (coco.images / "val2014" / IMAGES[0]["filename"]).write_bytes(b"no image")
    coco.refused(DataError, "in no format", "dataset_coco.json, images[0]", flags=flags(coco))
    coco.prepare(*flags(coco, "--skip-bad-rows"))
    assert coco.summary()["skipped"] == {"of an unreadable image": 2}
    assert [row[1] for row in coco.rows("train")] == ["9"]


def test_a_split_without_a_readable_image(coco: DataSet) -> None:
    (coco.images / "val2014" / IMAGES[2]["filename"]).write_bytes(b"no image")
    coco.refused(DataError, "no usable row is left for the split valid", flags=flags(coco, "--skip-bad-rows"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON file"),
        ("[]", "holds no list 'images'"),
        ('{"images": 5}', "holds no list 'images'"),
        ('{"images": [5]}', "images[0]: 5 is no record"),
        ('{"images": []}', "no usable row"),
        ("\ud800", "no JSON file"),
        ("[" * 100_000, "no JSON file"),
    ],
)
def test_files_that_are_not_karpathys(coco: DataSet, text: str, message: str) -> None:
    (coco.raw / "dataset_coco.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    coco.refused(DataError, message, flags=flags(coco))


def test_bad_flags(coco: DataSet) -> None:
    coco.refused(UsageError, "Give the file dataset_coco.json itself")
    coco.refused(UsageError, "nowhere.json: no such file", flags=("--annotations", "nowhere.json"))
    coco.refused(UsageError, "--images nowhere: no such folder", flags=flags(coco, "--images", "nowhere"))
    coco.refused(UsageError, "--workers 0", flags=flags(coco, "--workers", "0"))
    coco.refused(UsageError, "--max-side 0", flags=flags(coco, "--max-side", "0"))
    coco.refused(UsageError, "--objects nowhere", flags=flags(coco, "--objects", "nowhere"))
    (coco.bpe / "dict.txt").unlink()
    coco.refused(UsageError, "no dict.txt", flags=flags(coco))


def test_summary_tells_where_it_comes_from(coco: DataSet) -> None:
    coco.prepare(*flags(coco))
    text = json.dumps(coco.summary())
    assert str(coco.path) not in text
    assert "Karpathy" in coco.summary()["published"]

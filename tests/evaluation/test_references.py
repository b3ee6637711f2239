"""What outputs are judged by: rows read with their place in messages, ids checked, scenes matched."""

from __future__ import annotations

import pytest

from narvl.data import captioning, grounding
from narvl.errors import DataError
from narvl.evaluation.references import check_ids, open_split, read_row, read_rows, scenes_of_rows
from narvl.scenes.world import sample_scene


def write_tsv(folder, captions):
    rows = [f"{index}\timage-{index}\t{caption}\t\tAAAA" for index, caption in enumerate(captions)]
    (folder / "test.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return open_split(folder, "test", "captioning")


def test_references_are_cut_and_stripped(tmp_path):
    rows = write_tsv(tmp_path, ["a dog && the dog&&", "a cat", " && "])
    assert read_rows(rows, captioning.references) == [["a dog", "the dog"], ["a cat"], []]
    assert read_row(rows, 1, captioning.references) == ["a cat"]


def test_a_bad_row_is_named_once(tmp_path):
    (tmp_path / "test.tsv").write_text("0\ti\ttext\t0,0,1,1\tAAAA\n1\ti\ttext\t5,5,1,1\tAAAA\n2\ti\ttext\n")
    rows = open_split(tmp_path, "test", "grounding")
    assert read_row(rows, 0, grounding.box) == (0, 0, 1, 1)
    with pytest.raises(DataError, match=r"^[^,]*test.tsv, row 2: the box \(column 4\) is '5,5,1,1'"):
        read_rows(rows, grounding.box)
    with pytest.raises(DataError, match=r"^[^,]*test.tsv, row 3: 3 columns"):
        read_row(rows, 2, grounding.box)


def test_missing_split(tmp_path):
    with pytest.raises(DataError, match="test.tsv: no such file"):
        open_split(tmp_path, "test", "vqa")


def test_ids_must_be_those_of_the_rows(tmp_path):
    rows = write_tsv(tmp_path, ["a"] * 9)
    check_ids(range(9), "generate-test.txt", rows)
    with pytest.raises(
        DataError,
        match=r"generate-test.txt: has 3 rows, .*test.tsv has 9; 6 of 9 rows \(ids, counted from 0: 1, 2, 3, 5, 6, "
        r"...\) have no hypothesis.*--skip-bad-rows, --only-rows",
    ):
        check_ids([0, 4, 8], "generate-test.txt", rows)
    with pytest.raises(DataError, match=r"has 10 rows, .*has 9; 1 outputs \(ids, counted from 0: 12\) have no row"):
        check_ids([*range(9), 12], "generate-test.txt", rows)


def test_scenes_are_matched_by_image_id_not_by_order(tmp_path):
    scenes = [sample_scene(3, "test", index) for index in range(3)]
    assert scenes_of_rows(tmp_path, "test", {0: "any"}) is None
    (tmp_path / "test.scenes.jsonl").write_text("".join(scene.to_json() + "\n" for scene in reversed(scenes)))
    found = scenes_of_rows(tmp_path, "test", {0: scenes[0].image_id, 2: scenes[2].image_id})
    assert found == {0: scenes[0], 2: scenes[2]}


def test_missing_scene(tmp_path):
    scenes = [sample_scene(3, "test", index) for index in range(3)]
    (tmp_path / "test.scenes.jsonl").write_text(scenes[0].to_json() + "\n")
    with pytest.raises(DataError, match=rf"test.scenes.jsonl: 2 of 3 images .*{scenes[1].image_id}' \(row 2\)"):
        scenes_of_rows(tmp_path, "test", {index: scene.image_id for index, scene in enumerate(scenes)})

"""References of a split: cut at the separator, with the scene of each row where there are scenes."""

from __future__ import annotations

import pytest

from narvl.errors import DataError
from narvl.evaluation.references import read_split
from narvl.scenes.world import sample_scene


def write_tsv(folder, captions, image_ids=None):
    rows = [
        f"{index}\t{image_ids[index] if image_ids else f'image-{index}'}\t{caption}\t\tAAAA"
        for index, caption in enumerate(captions)
    ]
    (folder / "test.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_references_are_cut_and_stripped(tmp_path):
    write_tsv(tmp_path, ["a dog && the dog&&", "a cat"])
    split = read_split(tmp_path, "test")
    assert split.references == {0: ["a dog", "the dog"], 1: ["a cat"]}
    assert split.image_ids == ["image-0", "image-1"]
    assert split.scenes is None


def test_scenes_are_matched_by_image_id_not_by_order(tmp_path):
    scenes = [sample_scene(3, "test", index) for index in range(3)]
    write_tsv(tmp_path, ["a", "b", "c"], [scene.image_id for scene in scenes])
    (tmp_path / "test.scenes.jsonl").write_text("".join(scene.to_json() + "\n" for scene in reversed(scenes)))
    assert read_split(tmp_path, "test").scenes == dict(enumerate(scenes))


def test_missing_scene(tmp_path):
    scenes = [sample_scene(3, "test", index) for index in range(3)]
    write_tsv(tmp_path, ["a", "b", "c"], [scene.image_id for scene in scenes])
    (tmp_path / "test.scenes.jsonl").write_text(scenes[0].to_json() + "\n")
    with pytest.raises(DataError, match=rf"test.scenes.jsonl: 2 of 3 images .*{scenes[1].image_id}' \(row 2\)"):
        read_split(tmp_path, "test")


@pytest.mark.parametrize("caption", ["", " && "])
def test_empty_caption_names_file_and_row(tmp_path, caption):
    write_tsv(tmp_path, ["a dog", caption])
    with pytest.raises(DataError, match="test.tsv.*2.*caption column is empty"):
        read_split(tmp_path, "test")


def test_missing_split(tmp_path):
    with pytest.raises(DataError, match="test.tsv: no such file"):
        read_split(tmp_path, "test")

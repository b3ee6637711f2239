"""The help of each public data set teaches what to download and how to call the command."""

from __future__ import annotations

import argparse

import pytest

from narvl.commands import prepare

FILES = {
    "coco": ["dataset_coco.json", "train2014", "val2014", "restval"],
    "vqa": ["v2_OpenEnded_mscoco_test-dev2015_questions.json", "v2_mscoco_val2014_annotations.json", "test2015"],
    "gqa": ["train_balanced_questions.json", "testdev_balanced_questions.json", "images.zip"],
    "refcoco": ["refs(unc).p", "refs(umd).p", "instances.json", "untrusted"],
    "snli-ve": ["snli_ve_train.jsonl", "snli_ve_dev.jsonl", "flickr30k-images"],
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="narvl prepare")
    prepare.add_arguments(made)
    return made


@pytest.mark.parametrize("source", FILES)
def test_help_names_the_files(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([source, "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in FILES[source])
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize("source", FILES)
def test_the_example_in_the_help_is_a_command(source: str) -> None:
    documentation = prepare.SOURCES[source].__doc__
    assert documentation
    example = documentation.split("Example:")[1].split("(or")[0].split("(coco/")[0].replace("\\\n", " ")
    words = example.split()
    assert words[:3] == ["narvl", "prepare", source]
    args = parser().parse_args(words[2:])
    assert str(args.out) == "DATA" and args.images

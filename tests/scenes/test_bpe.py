from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import Encoder, get_encoder
from hypothesis import given
from hypothesis import strategies as st

from narvl.scenes import bpe
from narvl.scenes.captions import MAX_WORDS, write_captions
from narvl.scenes.lexicon import BACKGROUNDS, COLOURS, RELATIONS, RELATIONS_TO_IT, SHAPES, SIZES
from narvl.scenes.world import Scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bpe")
    for name, content in bpe.gpt2_files(*bpe.train()).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return get_encoder(str(folder / "encoder.json"), str(folder / "vocab.bpe"))


def test_captions_round_trip_and_have_one_token_a_word(encoder: Encoder, scenes: list[Scene]) -> None:
    tokenizer, _ = bpe.train()
    for scene in scenes:
        for caption in write_captions(scene, random.Random(0)):
            tokens = encoder.encode(" " + caption)
            assert encoder.decode(tokens) == " " + caption
            assert tokens == tokenizer.encode(" " + caption).ids
            assert len(tokens) == len(caption.split()) <= MAX_WORDS


def test_every_word_of_every_task_is_one_token(encoder: Encoder) -> None:
    words = {
        word
        for category in (COLOURS, SHAPES, SIZES, BACKGROUNDS, RELATIONS, RELATIONS_TO_IT)
        for phrases in category.values()
        for phrase in phrases
        for word in phrase.split()
    }
    words |= {
        "yes",
        "no",
        "maybe",
        "0",
        "1",
        "2",
        "3",
        "4",
        "describe",
        "imply",
        "region",
        "heavier",
        "belongs",
        "leftmost",
    }
    assert [word for word in sorted(words) if len(encoder.encode(f" {word}")) > 1] == []


@given(st.text(max_size=30))
def test_any_text_round_trips(encoder: Encoder, text: str) -> None:
    assert encoder.decode(encoder.encode(text)) == text


def test_the_files_have_gpt2s_formats(folder: Path) -> None:
    encoder = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    assert sorted(encoder.values()) == list(range(len(encoder)))
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    assert merges[0] == "#version: 0.2"
    assert merges[-1] == "", "the file ends with a newline, which the reader counts on"
    assert len(merges) - 2 == len(encoder) - 256
    assert all("".join(merge.split()) in encoder for merge in merges[1:-1])
    lines = [line.split() for line in (folder / "dict.txt").read_text().splitlines()]
    counts = [int(count) for _, count in lines]
    assert counts == sorted(counts, reverse=True)
    assert {int(token) for token, _ in lines} == set(encoder.values())
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    assert len(dictionary) == len(encoder) + 4
    assert 300 < len(encoder) < 700


def test_the_most_frequent_token_comes_first(folder: Path, encoder: Encoder) -> None:
    first = (folder / "dict.txt").read_text().split()[0]
    assert encoder.decode([int(first)]) == " a"

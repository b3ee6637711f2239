from __future__ import annotations

import random

import pytest

from narvl.scenes.captions import write_captions
from narvl.scenes.judge import judge
from narvl.scenes.lexicon import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    OPPOSITE,
    RELATIONS,
    RELATIONS_TO_IT,
    SHAPES,
    SIZES,
    reading,
)
from narvl.scenes.world import Scene, SceneObject

RELATION_PHRASES = reading(RELATIONS) | reading(RELATIONS_TO_IT)


def captioned(scenes: list[Scene]) -> list[tuple[Scene, str]]:
    return [(scene, caption) for scene in scenes for caption in write_captions(scene, random.Random(scene.image_id))]


def test_every_caption_of_ours_is_grammatical_and_true(scenes: list[Scene]) -> None:
    for scene, caption in captioned(scenes):
        verdict = judge(caption, scene)
        assert verdict.grammatical and verdict.faithful, (caption, scene)
        assert verdict.statements


@pytest.mark.parametrize(
    ("caption", "faithful"),
    [
        ("a red circle left of a blue square", True),
        ("a red circle right of a blue square", False),
        ("a blue square to the right of a large red disc", True),
        ("a blue square to the right of a small red disc", False),
        ("a red circle above a blue square", False),
        ("a blue square above a red circle", False),
        ("a tiny red hoop and a blue box on a grey background", True),
        ("a tiny red hoop and a blue box on a black background", False),
        ("a red circle and a red circle", False),
        ("three shapes a red circle a red ring and a blue square", True),
        ("two shapes a red circle and a blue square", False),
        ("a green circle and a blue square", False),
        ("a red circle with a red ring below it and also a blue square", True),
        ("a red circle with a red ring below it and also a blue ring", False),
        ("a red ring below a blue square and below a red circle", True),
        ("a red ring below a blue square and right of a red circle", False),
        ("a blue circle and a red square", False),
    ],
)
def test_worked_examples(hand_made: Scene, caption: str, faithful: bool) -> None:
    verdict = judge(caption, hand_made)
    assert verdict.grammatical
    assert verdict.faithful is faithful


def test_ungrammatical_is_never_faithful(hand_made: Scene) -> None:
    verdict = judge("a red circle a blue square", hand_made)
    assert (verdict.grammatical, verdict.faithful, verdict.statements) == (False, False, ())


def test_some_choice_of_distinct_objects_is_enough() -> None:
    twins = Scene(
        "twins",
        64,
        "white",
        (
            SceneObject("ring", "red", "small", (2, 2, 15, 15)),
            SceneObject("ring", "red", "large", (36, 36, 60, 60)),
        ),
    )
    assert judge("a red ring and a red ring", twins).faithful
    assert judge("a large red ring below a red ring", twins).faithful
    assert not judge("a large red ring and a large red ring", twins).faithful
    assert not judge("a large red ring above a red ring", twins).faithful


def swaps(caption: str, scene: Scene) -> list[str]:
    """The caption with one word or phrase made false: a value that the scene does not have, or an opposite relation."""
    found = []
    present = {value for item in scene.objects for value in (item.colour, item.shape)} | {scene.background}
    words = caption.split()
    for position, word in enumerate(words):
        for category in (COLOURS, SHAPES, BACKGROUNDS):
            if word in reading(category):
                found += [
                    " ".join([*words[:position], other, *words[position + 1 :]])
                    for other in category
                    if other not in present and (other == "orange") == (word == "orange")
                ]
        if word in reading(COUNTS):
            found += [" ".join([other, *words[1:]]) for (other,) in COUNTS.values() if other != word]
    for phrase, relation in RELATION_PHRASES.items():
        longer = [
            other for other in RELATION_PHRASES if phrase in other and other != phrase and f" {other}" in f" {caption}"
        ]
        if f" {phrase} " in f" {caption} " and not longer and caption.count(phrase) == 1:
            table = RELATIONS if phrase in reading(RELATIONS) else RELATIONS_TO_IT
            found.append(f" {caption} ".replace(f" {phrase} ", f" {table[OPPOSITE[relation]][0]} ").strip())
    return found


def test_one_false_word_makes_a_caption_unfaithful(scenes: list[Scene]) -> None:
    tried = 0
    for scene, caption in captioned(scenes):
        for altered in swaps(caption, scene):
            verdict = judge(altered, scene)
            assert verdict.grammatical, altered
            assert not verdict.faithful, (altered, scene)
            tried += 1
    assert tried > 5000


def test_a_false_size_makes_a_caption_unfaithful(scenes: list[Scene]) -> None:
    tried = 0
    for scene, caption in captioned(scenes):
        words = caption.split()
        for position, word in enumerate(words):
            if word in reading(SIZES):
                other = "small" if reading(SIZES)[word] == "large" else "large"
                assert not judge(" ".join([*words[:position], other, *words[position + 1 :]]), scene).faithful
                tried += 1
    assert tried > 100


def test_captions_of_other_scenes_are_rarely_true(scenes: list[Scene]) -> None:
    pairs = captioned(scenes)
    others = [scene for scene, _ in pairs[7:] + pairs[:7]]
    true = sum(judge(caption, other).faithful for (_, caption), other in zip(pairs, others, strict=True))
    assert true < 0.01 * len(pairs)


def test_cut_doubled_and_shuffled_captions_are_rarely_grammatical(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    for damage, most in ((_cut, 0.2), (_double, 0.0), (_shuffle, 0.02)):
        texts = [damage(caption.split(), rng) for _, caption in captioned(scenes)]
        whole = sum(judge(" ".join(words), scenes[0]).grammatical for words in texts)
        assert whole <= most * len(texts), damage.__name__


def _cut(words: list[str], rng: random.Random) -> list[str]:
    return words[: rng.randrange(1, len(words))]


def _double(words: list[str], rng: random.Random) -> list[str]:
    position = rng.randrange(len(words))
    return [*words[: position + 1], *words[position:]]


def _shuffle(words: list[str], rng: random.Random) -> list[str]:
    return rng.sample(words, len(words))

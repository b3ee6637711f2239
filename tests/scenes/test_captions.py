from __future__ import annotations

import random
from collections import Counter

from narvl.scenes.captions import CAPTIONS_PER_SCENE, MAX_WORDS, write_caption, write_captions
from narvl.scenes.grammar import FRAMES, ordered, parse
from narvl.scenes.lexicon import COLOURS, OPENINGS, RELATIONS, RELATIONS_TO_IT, SHAPES, SIZES
from narvl.scenes.world import Scene


def test_five_differing_captions_of_moderate_length(scenes: list[Scene]) -> None:
    lengths = []
    for scene in scenes:
        captions = write_captions(scene, random.Random(1))
        assert len(set(captions)) == len(captions) == CAPTIONS_PER_SCENE == 5
        for caption in captions:
            assert caption == " ".join(caption.split())
            assert all(character.islower() or character == " " for character in caption)
            lengths.append(len(caption.split()))
    assert max(lengths) <= MAX_WORDS == 16
    assert 9 < sum(lengths) / len(lengths) < 13


def test_many_captions_of_one_scene_differ(hand_made: Scene) -> None:
    captions = write_captions(hand_made, random.Random(0), 400)
    assert len(set(captions)) == len(captions) == 400


def test_the_same_seed_gives_the_same_captions(hand_made: Scene) -> None:
    assert write_captions(hand_made, random.Random(4)) == write_captions(hand_made, random.Random(4))
    assert write_captions(hand_made, random.Random(4)) != write_captions(hand_made, random.Random(5))


def test_captions_use_the_freedom_they_have(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    captions = [write_caption(scene, rng) for scene in scenes for _ in range(10)]
    text = " ".join(captions)
    for category in (COLOURS, SHAPES, SIZES, RELATIONS, RELATIONS_TO_IT):
        for phrases in category.values():
            assert all(f" {phrase} " in text for phrase in phrases)
    openings = sum(caption.startswith(OPENINGS) for caption in captions)
    assert 0.03 < openings / len(captions) < 0.15
    backgrounds = sum("back" in caption for caption in captions)
    assert 0.1 < backgrounds / len(captions) < 0.2
    shapes = Counter((len(m.mentions), len(m.relations), m.count is not None) for m in map(parse, captions) if m)
    assert set(shapes) == {(f.num_mentions, len(f.pairs) + len(ordered(f)), f.counts) for f in FRAMES}
    assert len(set(text.split())) < 80


def test_either_object_comes_first(hand_made: Scene) -> None:
    rng = random.Random(0)
    meanings = [parse(write_caption(hand_made, rng)) for _ in range(400)]
    orders = Counter((m.mentions[0].shape, m.mentions[1].shape) for m in meanings if m is not None)
    assert len(orders) == 6
    assert min(orders.values()) > 30


def test_a_count_lists_every_object(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    for scene in scenes:
        for _ in range(10):
            meaning = parse(write_caption(scene, rng))
            assert meaning is not None
            assert meaning.count in (None, len(meaning.mentions))
            assert meaning.count in (None, len(scene.objects))


def test_an_order_is_said_from_left_to_right_where_there_is_one(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    said = {"left": 0, "above": 0}
    for scene in scenes:
        for caption in (write_caption(scene, rng) for _ in range(10)):
            meaning = parse(caption)
            assert meaning is not None
            if caption.startswith("from "):
                ((first, relation, second),) = meaning.relations
                assert caption.startswith({"left": "from left to right", "above": "from top to bottom"}[relation])
                pair = [
                    next(o for o in scene.objects if o.shape == m.shape and o.colour == m.colour)
                    for m in meaning.mentions
                ]
                assert scene.relation_holds(relation, pair[first], pair[second])
                if relation == "above":
                    assert not {"left", "right"} & set(scene.relations(*pair))
                said[relation] += 1
    assert min(said.values()) > 20

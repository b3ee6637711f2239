"""Captions of a scene: true, differing, and free in frame, order, words and in what they leave out."""

from __future__ import annotations

import random

from narvl.scenes.grammar import FRAMES, Frame, Meaning, Mention, express, ordered
from narvl.scenes.world import Scene, SceneObject

CAPTIONS_PER_SCENE = 5
MAX_WORDS = 16

SIZE_RATE = 0.25
OPENING_RATE = 0.15
BACKGROUND_RATE = 0.15


def write_captions(scene: Scene, rng: random.Random, count: int = CAPTIONS_PER_SCENE) -> list[str]:
    """Write differing captions of a scene.

    Args:
        scene: what to describe.
        rng: the source of chance.
        count: how many.

    Returns:
        So many captions, no two alike, each true and of at most MAX_WORDS words.
    """
    captions: list[str] = []
    while len(captions) < count:
        caption = write_caption(scene, rng)
        if caption not in captions:
            captions.append(caption)
    return captions


def write_caption(scene: Scene, rng: random.Random) -> str:
    """Write one true caption of at most MAX_WORDS words.

    Args:
        scene: what to describe.
        rng: the source of chance.

    Returns:
        The caption: lower case, no punctuation.
    """
    frames = [frame for frame in FRAMES if _fits(frame, len(scene.objects))]
    while True:
        frame = rng.choices(frames, [frame.weight for frame in frames])[0]
        chosen = rng.sample(scene.objects, frame.num_mentions)
        if frame.order is not None:
            chosen = _in_order(scene, chosen, frame.order)
            if not chosen:
                continue
        mentions = tuple(describe(item, rng) for item in chosen)
        relations = tuple((i, rng.choice(scene.relations(chosen[i], chosen[j])), j) for i, j in frame.pairs)
        background = scene.background if rng.random() < BACKGROUND_RATE else None
        count = len(scene.objects) if frame.counts else None
        meaning = Meaning(mentions, relations + ordered(frame), background, count)
        caption = express(meaning, frame, rng, opening=rng.random() < OPENING_RATE)
        if len(caption.split()) <= MAX_WORDS:
            return caption


def describe(item: SceneObject, rng: random.Random) -> Mention:
    """Mention an object by colour and shape, which name it alone in its scene, and sometimes by size as well."""
    return Mention(item.colour, item.shape, item.size if rng.random() < SIZE_RATE else None)


def _in_order(scene: Scene, pair: list[SceneObject], order: str) -> list[SceneObject]:
    """Put two objects in a frame's order; empty where they stand in none, or where left to right says it first."""
    for first, second in (pair, pair[::-1]):
        relations = scene.relations(first, second)
        if order in relations and (order == "left" or not {"left", "right"} & set(relations)):
            return [first, second]
    return []


def _fits(frame: Frame, num_objects: int) -> bool:
    """A frame that counts lists all objects; any other mentions some of them."""
    return frame.num_mentions == num_objects if frame.counts else frame.num_mentions <= num_objects

"""Single statements about a scene, true or false, from which questions and hypotheses are made."""

from __future__ import annotations

import random
from dataclasses import replace

from narvl.scenes.captions import describe
from narvl.scenes.grammar import Meaning, Mention
from narvl.scenes.judge import holds
from narvl.scenes.lexicon import BACKGROUNDS, COLOURS, COUNTS, OPPOSITE, SHAPES, SIZES, Category
from narvl.scenes.world import Scene

# How often each kind of statement is chosen.
WEIGHTS = {"existence": 4, "relation": 5, "background": 1, "count": 1}


def state(scene: Scene, rng: random.Random, truth: bool, kind: str | None = None) -> Meaning:
    """Draw a statement about a scene by lot.

    Args:
        scene: the scene.
        rng: the source of chance.
        truth: whether the statement is to be true.
        kind: a key of WEIGHTS; None: by lot.

    Returns:
        A meaning with one mention (existence), two mentions and a relation, or no mention and a background or a count.
        A false one differs from a true one in one word.
    """
    kind = kind or rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    while True:
        meaning = _true_statement(scene, rng, kind)
        if not truth:
            meaning = _alter(meaning, rng)
        if holds(meaning, scene) == truth:
            return meaning


def _true_statement(scene: Scene, rng: random.Random, kind: str) -> Meaning:
    if kind == "background":
        return Meaning((), background=scene.background)
    if kind == "count":
        return Meaning((), count=len(scene.objects))
    if kind == "existence":
        return Meaning((describe(rng.choice(scene.objects), rng),))
    first, second = rng.sample(scene.objects, 2)
    relation = rng.choice(scene.relations(first, second))
    return Meaning((describe(first, rng), describe(second, rng)), ((0, relation, 1),))


def _alter(meaning: Meaning, rng: random.Random) -> Meaning:
    """Change one word. The result may still be true, by another object."""
    if meaning.background is not None:
        return replace(meaning, background=_other(BACKGROUNDS, meaning.background, rng))
    if meaning.count is not None:
        return replace(meaning, count=int(_other(COUNTS, str(meaning.count), rng)))
    if meaning.relations and rng.random() < 0.6:
        i, relation, j = meaning.relations[0]
        return replace(meaning, relations=((i, OPPOSITE[relation], j),))
    position = rng.randrange(len(meaning.mentions))
    mentions = list(meaning.mentions)
    mentions[position] = alter_mention(mentions[position], rng)
    return replace(meaning, mentions=tuple(mentions))


def alter_mention(mention: Mention, rng: random.Random) -> Mention:
    """Give a mention another colour, another shape or, if it has one, another size."""
    changes = [
        replace(mention, colour=_other(COLOURS, mention.colour, rng)),
        replace(mention, shape=_other(SHAPES, mention.shape, rng)),
    ]
    if mention.size is not None:
        changes.append(replace(mention, size=_other(SIZES, mention.size, rng)))
    return rng.choice(changes)


def _other(category: Category, value: str, rng: random.Random) -> str:
    return rng.choice([other for other in category if other != value])

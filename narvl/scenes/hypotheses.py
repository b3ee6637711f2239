"""Hypotheses about a scene: entailed by the picture, contradicted by it, or neutral, where the picture cannot tell.

Neutral hypotheses speak of weight, warmth, material, age, owner and past, which no picture here shows. Half of the
contradictions speak of these as well, of an object that is not there, so that no word gives a label away.
"""

from __future__ import annotations

import random

from narvl.data.entailment import ANSWER_OF
from narvl.scenes.captions import describe
from narvl.scenes.grammar import Meaning, Mention, noun_phrase
from narvl.scenes.judge import holds
from narvl.scenes.lexicon import COUNTED, COUNTS, RELATIONS, article, say
from narvl.scenes.statements import alter_mention, state
from narvl.scenes.world import Scene

LABELS = tuple(ANSWER_OF)

UNSEEN_ADJECTIVES = ("heavy", "warm", "wooden", "old")
UNSEEN_COMPARISONS = ("heavier", "warmer", "older")
UNSEEN_FACTS = ("belongs to a child", "was moved yesterday", "is made of wood", "fell down today")


def write_hypothesis(scene: Scene, label: str, rng: random.Random) -> str:
    """Write a hypothesis about a scene.

    Args:
        scene: the scene.
        label: one of LABELS.
        rng: the source of chance.

    Returns:
        The hypothesis: lower case, no punctuation. Every object that a neutral one speaks of is in the scene.
    """
    if label == "neutral":
        return _unseen(_mentions(scene, rng), rng)
    if label == "contradiction" and rng.random() < 0.5:
        while True:
            mentions = _mentions(scene, rng)
            position = rng.randrange(len(mentions))
            mentions[position] = alter_mention(mentions[position], rng)
            if not holds(Meaning(tuple(mentions)), scene):
                return _unseen(mentions, rng)
    return _seen(state(scene, rng, truth=label == "entailment"), rng)


def _mentions(scene: Scene, rng: random.Random) -> list[Mention]:
    return [describe(item, rng) for item in rng.sample(scene.objects, rng.choice((1, 2)))]


def _seen(meaning: Meaning, rng: random.Random) -> str:
    """Say a statement that the picture decides."""
    if meaning.background is not None:
        return f"the background is {meaning.background}"
    if meaning.count is not None:
        return f"there are {say(COUNTS, str(meaning.count), rng)} {rng.choice(COUNTED)}"
    names = [noun_phrase(mention, rng) for mention in meaning.mentions]
    if meaning.relations:
        return f"{names[0]} is {say(RELATIONS, meaning.relations[0][1], rng)} {names[1]}"
    return f"{rng.choice(('there is', 'we see'))} {names[0]}"


def _unseen(mentions: list[Mention], rng: random.Random) -> str:
    """Say something of one or two objects that no picture shows."""
    names = [noun_phrase(mention, rng) for mention in mentions]
    if len(names) == 2:
        return f"{names[0]} is {rng.choice(UNSEEN_COMPARISONS)} than {names[1]}"
    if rng.random() < 0.5:
        return f"{names[0]} {rng.choice(UNSEEN_FACTS)}"
    adjective = rng.choice(UNSEEN_ADJECTIVES)
    bare = names[0].split(maxsplit=1)[1]
    return f"{rng.choice(('there is', 'we see'))} {article(adjective)} {adjective} {bare}"

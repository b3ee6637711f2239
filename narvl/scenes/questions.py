"""Questions about a scene and their answers, as ten people would give them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from narvl.data.vqa import confidence
from narvl.scenes.expressions import refer_without
from narvl.scenes.grammar import Mention, noun_phrase
from narvl.scenes.lexicon import (
    BACKGROUNDS,
    COLOURS,
    COUNTED,
    PLURALS,
    RELATIONS,
    SHAPES,
    SIZES,
    Category,
    say,
)
from narvl.scenes.statements import state
from narvl.scenes.world import Scene, SceneObject

QUESTIONS_PER_SCENE = 5
ANNOTATORS = 10


@dataclass(frozen=True)
class Question:
    """A question and its answers.

    Attributes:
        text: lower case, ending in "?".
        answers: (confidence, answer), the most frequent answer first; the confidence is the official soft accuracy that
            the answer earns, in [0, 1].
    """

    text: str
    answers: tuple[tuple[float, str], ...]


def ask(scene: Scene, rng: random.Random, count: int = QUESTIONS_PER_SCENE) -> list[Question]:
    """Ask differing questions about a scene.

    Args:
        scene: the scene.
        rng: the source of chance.
        count: how many.

    Returns:
        So many questions, of different kinds as far as there are kinds.
    """
    questions: list[Question] = []
    while True:
        for maker in rng.sample(_MAKERS, len(_MAKERS)):
            question = maker(scene, rng)
            if question is not None and all(question.text != asked.text for asked in questions):
                questions.append(question)
                if len(questions) == count:
                    return questions


def _answered(text: str, answer: str, rng: random.Random, names: Category | None = None) -> Question:
    """Let ten people answer, each in the words of `names` or, without names, all alike."""
    if names is None:
        return Question(text, ((1.0, answer),))
    given = Counter(say(names, answer, rng) for _ in range(ANNOTATORS))
    ranked = sorted(given.items(), key=lambda item: (-item[1], item[0]))
    return Question(text, tuple((confidence(count, ANNOTATORS), said) for said, count in ranked))


def _named(scene: Scene, rng: random.Random, *unsaid: str) -> tuple[SceneObject, str] | None:
    """Choose an object that can be named without these attributes, and its name."""
    item = rng.choice(scene.objects)
    name = refer_without(scene, item, rng, unsaid)
    return None if name is None else (item, name)


def _colour(scene: Scene, rng: random.Random) -> Question | None:
    if rng.random() < 0.15:
        return _answered("what colour is the background?", scene.background, rng, BACKGROUNDS)
    named = _named(scene, rng, "colour")
    if named is None:
        return None
    text = rng.choice(("what colour is {}?", "what is the colour of {}?")).format(named[1])
    return _answered(text, named[0].colour, rng, COLOURS)


def _shape(scene: Scene, rng: random.Random) -> Question | None:
    named = _named(scene, rng, "shape")
    if named is None:
        return None
    text = rng.choice(("what shape is {}?", "what is the shape of {}?")).format(named[1])
    return _answered(text, named[0].shape, rng, SHAPES)


def _size(scene: Scene, rng: random.Random) -> Question | None:
    named = _named(scene, rng, "size")
    if named is None:
        return None
    item, name = named
    if rng.random() < 0.5:
        return _answered(f"what size is {name}?", item.size, rng, SIZES)
    return _answered(f"is {name} large or small?", item.size, rng)


def _side(scene: Scene, rng: random.Random) -> Question:
    first, second = rng.sample(scene.objects, 2)
    relation = rng.choice(scene.relations(first, second))
    choice = "left or right of" if relation in ("left", "right") else "above or below"
    names = [noun_phrase(Mention(item.colour, item.shape), rng, "the") for item in (first, second)]
    return _answered(f"is {names[0]} {choice} {names[1]}?", relation, rng)


def _count(scene: Scene, rng: random.Random) -> Question:
    """Count all objects, or those of a colour, size or shape; each of these may be of an object here or of none."""
    by = rng.choice(("all", "colour", "shape", "size"))
    noun, matching = rng.choice(COUNTED), list(scene.objects)
    if by == "shape":
        shape = rng.choice([rng.choice(list(SHAPES)), rng.choice(scene.objects).shape])
        noun, matching = PLURALS[shape], [item for item in matching if item.shape == shape]
    elif by == "colour":
        colour = rng.choice([rng.choice(list(COLOURS)), rng.choice(scene.objects).colour])
        noun, matching = f"{say(COLOURS, colour, rng)} {noun}", [item for item in matching if item.colour == colour]
    elif by == "size":
        size = rng.choice(list(SIZES))
        noun, matching = f"{say(SIZES, size, rng)} {noun}", [item for item in matching if item.size == size]
    text = rng.choice(("how many {} are there?", "how many {} can we see?")).format(noun)
    return _answered(text, str(len(matching)), rng)


def _yes_or_no(scene: Scene, rng: random.Random) -> Question:
    truth = rng.random() < 0.5
    meaning = state(scene, rng, truth, rng.choice(("existence", "relation")))
    names = [noun_phrase(mention, rng) for mention in meaning.mentions]
    if meaning.relations:
        text = f"is there {names[0]} {say(RELATIONS, meaning.relations[0][1], rng)} {names[1]}?"
    else:
        text = rng.choice(("is there {}?", "can we see {}?")).format(names[0])
    return _answered(text, "yes" if truth else "no", rng)


_MAKERS: tuple[Callable[[Scene, random.Random], Question | None], ...] = (
    _colour,
    _shape,
    _size,
    _side,
    _count,
    _yes_or_no,
)

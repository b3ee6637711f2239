"""Referring expressions: definite phrases that name exactly one object of a scene."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from narvl.scenes.grammar import Mention, noun_phrase
from narvl.scenes.judge import fits
from narvl.scenes.lexicon import ANY_SHAPE, COLOURS, EXTREMES, RELATIONS, SHAPES, SIZES, say
from narvl.scenes.world import Scene, SceneObject

# How often each kind of expression is chosen, where the scene allows it.
WEIGHTS = {"attributes": 5, "relation": 4, "extreme": 2}


@dataclass(frozen=True)
class Reference:
    """What a referring expression says of its object; None: not said.

    Attributes:
        colour: its colour.
        shape: its shape.
        size: its size.
        relation: it stands in this relation to the one object of this mention.
        extreme: it lies farther in this direction than all other objects, plainly.
    """

    colour: str | None = None
    shape: str | None = None
    size: str | None = None
    relation: tuple[str, Mention] | None = None
    extreme: str | None = None

    @property
    def kind(self) -> str:
        """A key of WEIGHTS."""
        return "relation" if self.relation else "extreme" if self.extreme else "attributes"


def referents(reference: Reference, scene: Scene) -> list[SceneObject]:
    """Find the objects of which all that a reference says is true."""
    return [item for item in scene.objects if _applies(reference, item, scene)]


@lru_cache(maxsize=64)
def references(scene: Scene, item: SceneObject, unsaid: tuple[str, ...] = ()) -> tuple[Reference, ...]:
    """List the references that name one object of a scene and no other.

    Args:
        scene: the scene.
        item: one of its objects.
        unsaid: attributes ("colour", "shape", "size") that must not be said.

    Returns:
        The references, in a fixed order; possibly none if something must stay unsaid.
    """

    def choices(attribute: str, value: str) -> tuple[str | None, ...]:
        return (None,) if attribute in unsaid else (None, value)

    others = [other for other in scene.objects if other != item]
    places: list[dict[str, object]] = [{}]
    places += [
        {"relation": (relation, Mention(other.colour, other.shape))}
        for other in others
        for relation in scene.relations(item, other)
    ]
    places += [{"extreme": direction} for direction in EXTREMES]
    found = []
    for colour, shape, size, place in product(
        choices("colour", item.colour), choices("shape", item.shape), choices("size", item.size), places
    ):
        reference = Reference(colour, shape, size, **place)  # type: ignore[arg-type]
        if referents(reference, scene) == [item]:
            found.append(reference)
    return tuple(found)


def refer(scene: Scene, item: SceneObject, rng: random.Random) -> str:
    """Write an expression that names one object of a scene and no other.

    Args:
        scene: the scene.
        item: one of its objects.
        rng: the source of chance.

    Returns:
        For example "the large shape left of the red disc".
    """
    name = refer_without(scene, item, rng, ())
    if name is None:
        raise ValueError(f"{scene.image_id}: two objects are alike in colour and shape")
    return name


def refer_without(scene: Scene, item: SceneObject, rng: random.Random, unsaid: tuple[str, ...]) -> str | None:
    """Write an expression as `refer` does, leaving attributes out.

    Args:
        scene: the scene.
        item: one of its objects.
        rng: the source of chance.
        unsaid: attributes ("colour", "shape", "size") that must not be said of the object itself.

    Returns:
        The expression; None if the object cannot be named alone in this way.
    """
    found = references(scene, item, unsaid)
    if not found:
        return None
    kinds = sorted({reference.kind for reference in found})
    kind = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
    return _express(rng.choice([reference for reference in found if reference.kind == kind]), rng)


def _applies(reference: Reference, item: SceneObject, scene: Scene) -> bool:
    others = [other for other in scene.objects if other != item]
    if any(
        said is not None and said != true
        for said, true in (
            (reference.colour, item.colour),
            (reference.shape, item.shape),
            (reference.size, item.size),
        )
    ):
        return False
    if reference.relation:
        relation, mention = reference.relation
        return any(fits(mention, other) and scene.relation_holds(relation, item, other) for other in others)
    if reference.extreme:
        return all(scene.relation_holds(reference.extreme, item, other) for other in others)
    return True


def _express(reference: Reference, rng: random.Random) -> str:
    words = ["the"]
    if reference.extreme:
        words.append(EXTREMES[reference.extreme])
    if reference.size:
        words.append(say(SIZES, reference.size, rng))
    if reference.colour:
        words.append(say(COLOURS, reference.colour, rng))
    words.append(say(SHAPES, reference.shape, rng) if reference.shape else rng.choice(ANY_SHAPE))
    if reference.relation:
        relation, mention = reference.relation
        words += [say(RELATIONS, relation, rng), noun_phrase(mention, rng, "the")]
    return " ".join(words)

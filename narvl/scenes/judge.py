"""The judge: is a caption grammatical, and is every statement of it true of the scene?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from narvl.scenes.grammar import Meaning, Mention, parse
from narvl.scenes.world import Scene, SceneObject


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        grammatical: the caption is a sentence of the grammar.
        faithful: it is grammatical and every statement is true at once.
        statements: what was understood, in plain words; empty if ungrammatical.
    """

    grammatical: bool
    faithful: bool
    statements: tuple[str, ...]


def judge(caption: str, scene: Scene) -> Verdict:
    """Judge a caption of a scene.

    Args:
        caption: text; case and the width of blanks do not matter, any other difference from the grammar does.
        scene: the truth.

    Returns:
        The verdict.
    """
    meaning = parse(caption)
    if meaning is None:
        return Verdict(grammatical=False, faithful=False, statements=())
    return Verdict(grammatical=True, faithful=holds(meaning, scene), statements=meaning.statements())


def holds(meaning: Meaning, scene: Scene) -> bool:
    """Tell whether a meaning is true of a scene.

    Args:
        meaning: what is stated.
        scene: the truth.

    Returns:
        True if background and count are right and some choice of distinct objects, one for each mention, has the
        colours, shapes and sizes said and stands in all the relations said.
    """
    if meaning.background not in (None, scene.background) or meaning.count not in (None, len(scene.objects)):
        return False
    return any(
        all(fits(mention, item) for mention, item in zip(meaning.mentions, chosen, strict=True))
        and all(scene.relation_holds(relation, chosen[i], chosen[j]) for i, relation, j in meaning.relations)
        for chosen in permutations(scene.objects, len(meaning.mentions))
    )


def fits(mention: Mention, item: SceneObject) -> bool:
    """Tell whether an object has the colour, the shape and, if said, the size of a mention."""
    return (mention.colour, mention.shape) == (item.colour, item.shape) and mention.size in (None, item.size)

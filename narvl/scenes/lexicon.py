"""The words of the scenes: one table from each value to the phrases that say it, read by the writers and by the judge.

The first phrase of a value is its plain name. A phrase belongs to one value of its category only, so it can be read
back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

Category = Mapping[str, tuple[str, ...]]

COLOURS: Category = {
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
}
SHAPES: Category = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle", "wedge"),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
}
SIZES: Category = {"large": ("large", "big"), "small": ("small", "tiny")}
BACKGROUNDS: Category = {"white": ("white",), "grey": ("grey",), "black": ("black",)}

# A relation between two noun phrases ("a circle left of a square"), and the same one said of "it" after "with".
RELATIONS: Category = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
RELATIONS_TO_IT: Category = {
    "left": ("to its left", "on its left"),
    "right": ("to its right", "on its right"),
    "above": ("above it", "over it"),
    "below": ("below it", "under it"),
}
OPPOSITE: Mapping[str, str] = {"left": "right", "right": "left", "above": "below", "below": "above"}

# What has no shape said is one of these; several objects are the plural.
ANY_SHAPE: tuple[str, ...] = ("shape", "object")
PLURALS: Mapping[str, str] = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "cross": "crosses",
    "ring": "rings",
    "shape": "shapes",
    "object": "objects",
}
EXTREMES: Mapping[str, str] = {"left": "leftmost", "right": "rightmost", "above": "topmost", "below": "bottommost"}

COUNTS: Category = {"2": ("two",), "3": ("three",), "4": ("four",)}
COUNTED: tuple[str, ...] = tuple(PLURALS[noun] for noun in ANY_SHAPE)
OPENINGS: tuple[str, ...] = ("there is", "we see", "a picture of")
BACKDROPS: tuple[tuple[str, str], ...] = (("on", "background"), ("against", "backdrop"))

# How often a value is said by its plain name where it has other names: people are uneven, too.
PLAIN_NAME_RATE = 0.85


def say(category: Category, value: str, rng: random.Random) -> str:
    """Choose a phrase for a value: its plain name most of the time.

    Args:
        category: one of the tables above.
        value: a key of the table.
        rng: the source of chance.

    Returns:
        One of the value's phrases.
    """
    phrases = category[value]
    if len(phrases) == 1 or rng.random() < PLAIN_NAME_RATE:
        return phrases[0]
    return rng.choice(phrases[1:])


def reading(category: Category) -> dict[str, str]:
    """Turn a table round: phrase to value.

    Args:
        category: one of the tables above.

    Returns:
        A dictionary with every phrase of the table.
    """
    return {phrase: value for value, phrases in category.items() for phrase in phrases}


def article(word: str) -> str:
    """Give the indefinite article that stands before a word of this lexicon.

    Args:
        word: the word that follows.

    Returns:
        "a" or "an".
    """
    return "an" if word[0] in "aeiou" else "a"

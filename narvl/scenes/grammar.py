"""The grammar of captions: what a caption can mean, the sentence frames, and the two directions, saying and parsing.

Both directions read the same frames and the same lexicon, so whatever can be said can be parsed back into its meaning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from narvl.scenes.lexicon import (
    BACKDROPS,
    BACKGROUNDS,
    COLOURS,
    COUNTED,
    COUNTS,
    OPENINGS,
    RELATIONS,
    RELATIONS_TO_IT,
    SHAPES,
    SIZES,
    Category,
    article,
    reading,
    say,
)


@dataclass(frozen=True)
class Mention:
    """One noun phrase: an object of this colour and shape, and of this size if a size is said."""

    colour: str
    shape: str
    size: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.size, self.colour, self.shape)))


@dataclass(frozen=True)
class Meaning:
    """What a caption states.

    Attributes:
        mentions: there are distinct objects, one for each of these.
        relations: (i, relation, j): the object of mention i stands in this relation to the object of mention j.
        background: the ground has this colour; None: not said.
        count: there are exactly so many objects; None: not said.
    """

    mentions: tuple[Mention, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    background: str | None = None
    count: int | None = None

    def statements(self) -> tuple[str, ...]:
        """Write each statement in plain words, for people."""
        said = [f"there is a {mention}" for mention in self.mentions]
        said += [f"{self.mentions[i]} {RELATIONS[r][0]} {self.mentions[j]}" for i, r, j in self.relations]
        if self.background is not None:
            said.append(f"the background is {self.background}")
        if self.count is not None:
            said.append(f"there are exactly {self.count} objects")
        return tuple(said)


@dataclass(frozen=True)
class Frame:
    """A sentence pattern.

    Attributes:
        pattern: parts separated by blanks. A, B, C are noun phrases; A>B is the relation of A to B, before B's phrase;
            B~A the relation of B to A where A is "it"; # the number of objects in the scene; anything else is words,
            with _ for a blank and | between alternatives.
        weight: how often the frame is chosen, relative to the others that fit.
        opening: whether an opening such as "there is" may stand before it.
        order: the relation in which each mention stands to the next by the frame's words; None: the frame says none.
    """

    pattern: str
    weight: float
    opening: bool
    order: str | None = None

    @property
    def parts(self) -> list[str]:
        """The pattern's parts in order."""
        return self.pattern.split()

    @property
    def num_mentions(self) -> int:
        """How many noun phrases the frame has."""
        return sum(part in LETTERS for part in self.parts)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of mentions whose relation the frame states, in the order of their statement."""
        return [(LETTERS.index(part[0]), LETTERS.index(part[2])) for part in self.parts if part[1:2] in (">", "~")]

    @property
    def counts(self) -> bool:
        """Whether the frame states the number of objects in the scene."""
        return "#" in self.parts


LETTERS = "ABC"
FRAMES: tuple[Frame, ...] = (
    Frame("A A>B B", 3, True),
    Frame("A is|sits A>B B", 2, False),
    Frame("A with B B~A", 2, True),
    Frame("A>B B is|there_is A", 1, False),
    Frame("A and B", 1, True),
    Frame("# A and B", 1, False),
    Frame("from_left_to_right A and B", 6, False, order="left"),
    Frame("from_top_to_bottom A and B", 6, False, order="above"),
    Frame("A A>B B and A>C C", 2, True),
    Frame("A A>B B and_also|as_well_as C", 1, True),
    Frame("A with B B~A and_also|as_well_as C", 1, True),
    Frame("A B and C", 1, True),
    Frame("# A B and C", 1, False),
)


def ordered(frame: Frame) -> tuple[tuple[int, str, int], ...]:
    """Give the relations that a frame's words state by the order of its mentions."""
    return tuple((i, frame.order, i + 1) for i in range(frame.num_mentions - 1)) if frame.order else ()


def express(meaning: Meaning, frame: Frame, rng: random.Random, opening: bool) -> str:
    """Say a meaning in a frame, with the words chosen by lot.

    Args:
        meaning: its relations are over the frame's pairs, in their order, then those of the frame's order; it has a
            count if the frame states one, and only then.
        frame: one of FRAMES.
        rng: the source of chance.
        opening: whether to begin with an opening, where the frame allows one.

    Returns:
        The caption: lower case, no punctuation, single blanks.
    """
    relations = {(i, j): relation for i, relation, j in meaning.relations}
    words = [rng.choice(OPENINGS)] if opening and frame.opening else []
    for part in frame.parts:
        if part in LETTERS:
            words.append(noun_phrase(meaning.mentions[LETTERS.index(part)], rng))
        elif part == "#":
            words += [say(COUNTS, str(meaning.count), rng), rng.choice(COUNTED)]
        elif part[1:2] in (">", "~"):
            relation = relations[LETTERS.index(part[0]), LETTERS.index(part[2])]
            words.append(say(RELATIONS if part[1] == ">" else RELATIONS_TO_IT, relation, rng))
        else:
            words.append(rng.choice(part.split("|")).replace("_", " "))
    if meaning.background is not None:
        preposition, noun = rng.choice(BACKDROPS)
        words.append(f"{preposition} a {say(BACKGROUNDS, meaning.background, rng)} {noun}")
    return " ".join(words)


def noun_phrase(mention: Mention, rng: random.Random, determiner: str | None = None) -> str:
    """Say a mention, with the words chosen by lot.

    Args:
        mention: what to say.
        rng: the source of chance.
        determiner: the word to begin with, such as "the"; None: the fitting "a" or "an".

    Returns:
        For example "a big orange disc".
    """
    words = [say(SIZES, mention.size, rng)] if mention.size else []
    words += [say(COLOURS, mention.colour, rng), say(SHAPES, mention.shape, rng)]
    return " ".join([determiner or article(words[0]), *words])


def parse(caption: str) -> Meaning | None:
    """Read a caption's meaning.

    Args:
        caption: text; case and the width of blanks do not matter.

    Returns:
        The meaning, or None if no frame of the grammar gives this text word for word.
    """
    text = " ".join(caption.lower().split())
    for frame in FRAMES:
        match = _pattern(frame).fullmatch(text)
        if match:
            return _meaning(frame, match)
    return None


def _meaning(frame: Frame, match: re.Match[str]) -> Meaning:
    mentions = tuple(_mention(match[letter]) for letter in LETTERS[: frame.num_mentions])
    relations = tuple((i, _RELATION_OF[match[f"relation_{LETTERS[i]}{LETTERS[j]}"]], j) for i, j in frame.pairs)
    relations += ordered(frame)
    background = next(filter(None, (match[f"background_{noun}"] for _, noun in BACKDROPS)), None)
    return Meaning(
        mentions,
        relations,
        _BACKGROUND_OF[background] if background else None,
        int(_COUNT_OF[match["count"]]) if frame.counts else None,
    )


def _mention(phrase: str) -> Mention:
    *before, colour, shape = phrase.split()
    size = _SIZE_OF[before[1]] if len(before) == 2 else None
    return Mention(_COLOUR_OF[colour], _SHAPE_OF[shape], size)


@cache
def _pattern(frame: Frame) -> re.Pattern[str]:
    """Compile a frame, with its optional opening and background, into a regular expression, a group for each slot."""
    parts = []
    for part in frame.parts:
        if part in LETTERS:
            parts.append(f"(?P<{part}>{_NOUN_PHRASE})")
        elif part == "#":
            parts.append(f"(?P<count>{_any_phrase(COUNTS)}) {_any(COUNTED)}")
        elif part[1:2] in (">", "~"):
            phrases = _any_phrase(RELATIONS if part[1] == ">" else RELATIONS_TO_IT)
            parts.append(f"(?P<relation_{part[0]}{part[2]}>{phrases})")
        else:
            parts.append(_any(part.replace("_", " ").split("|")))
    opening = f"(?:{_any(OPENINGS)} )?" if frame.opening else ""
    backdrops = "|".join(
        f"{preposition} a (?P<background_{noun}>{_any_phrase(BACKGROUNDS)}) {noun}" for preposition, noun in BACKDROPS
    )
    return re.compile(f"{opening}{' '.join(parts)}(?: (?:{backdrops}))?")


def _any(phrases: Iterable[str]) -> str:
    return "(?:" + "|".join(map(re.escape, phrases)) + ")"


def _any_phrase(category: Category) -> str:
    return _any(phrase for phrases in category.values() for phrase in phrases)


def _with_article(categories: tuple[Category, ...]) -> str:
    """A noun phrase whose article fits its first word, the categories' phrases following in order."""
    first = [phrase for phrases in categories[0].values() for phrase in phrases]
    rest = "".join(f" {_any_phrase(category)}" for category in categories[1:])
    return "|".join(
        f"{word} {_any([phrase for phrase in first if article(phrase) == word])}{rest}"
        for word in sorted({article(phrase) for phrase in first})
    )


_NOUN_PHRASE = f"(?:{_with_article((COLOURS, SHAPES))}|{_with_article((SIZES, COLOURS, SHAPES))})"
_COLOUR_OF, _SHAPE_OF, _SIZE_OF = reading(COLOURS), reading(SHAPES), reading(SIZES)
_BACKGROUND_OF, _COUNT_OF = reading(BACKGROUNDS), reading(COUNTS)
_RELATION_OF = reading(RELATIONS) | reading(RELATIONS_TO_IT)

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.scenes.grammar import FRAMES, Frame, Meaning, Mention, express, ordered, parse
from narvl.scenes.lexicon import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES

MENTIONS = st.builds(
    Mention, st.sampled_from(list(COLOURS)), st.sampled_from(list(SHAPES)), st.sampled_from([None, *SIZES])
)


@given(
    st.sampled_from(FRAMES),
    st.tuples(MENTIONS, MENTIONS, MENTIONS),
    st.tuples(st.sampled_from(list(RELATIONS)), st.sampled_from(list(RELATIONS))),
    st.sampled_from([None, *BACKGROUNDS]),
    st.integers(2, 4),
    st.booleans(),
    st.integers(),
)
def test_what_is_said_is_what_is_parsed(
    frame: Frame,
    mentions: tuple[Mention, ...],
    relations: tuple[str, ...],
    background: str | None,
    count: int,
    opening: bool,
    seed: int,
) -> None:
    meaning = Meaning(
        mentions[: frame.num_mentions],
        tuple((i, relation, j) for (i, j), relation in zip(frame.pairs, relations, strict=False)) + ordered(frame),
        background,
        count if frame.counts else None,
    )
    assert parse(express(meaning, frame, random.Random(seed), opening)) == meaning


CIRCLE, SQUARE, RING = (
    Mention("red", "circle", "large"),
    Mention("blue", "square"),
    Mention("orange", "ring"),
)


@pytest.mark.parametrize(
    ("caption", "meaning"),
    [
        ("a big red disc to the left of a blue box", Meaning((CIRCLE, SQUARE), ((0, "left", 1),))),
        ("a large red circle is over a blue square", Meaning((CIRCLE, SQUARE), ((0, "above", 1),))),
        ("we see a big red circle with a blue box under it", Meaning((CIRCLE, SQUARE), ((1, "below", 0),))),
        ("right of a blue box there is a big red disc", Meaning((CIRCLE, SQUARE), ((0, "right", 1),))),
        (
            "an orange hoop left of a blue square and below a large red circle",
            Meaning((RING, SQUARE, CIRCLE), ((0, "left", 1), (0, "below", 2))),
        ),
        (
            "three shapes an orange ring a blue square and a large red circle",
            Meaning((RING, SQUARE, CIRCLE), count=3),
        ),
        (
            "there is an orange hoop and a blue box against a grey backdrop",
            Meaning((RING, SQUARE), background="grey"),
        ),
    ],
)  # fmt: skip
def test_worked_examples(caption: str, meaning: Meaning) -> None:
    assert parse(caption) == meaning
    assert parse(f"  {caption.upper()}\n") == meaning


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a red circle",
        "a and a room",
        "a red circle and a",
        "a red red circle and a blue square",
        "a red circle left of of a blue square",
        "a orange ring and a blue square",
        "an red circle and a blue square",
        "a circle red and a blue square",
        "a red large circle and a blue square",
        "a red circle left a blue square",
        "a red circle and a blue square.",
        "there is a red circle is left of a blue square",
        "there is there is a red circle and a blue square",
        "a red circle and a blue square on a grey backdrop",
        "a red circle and a blue square on a red background",
        "a red circle with a blue square left of it",
        "a red circle left of a blue square and a green ring",
        "five shapes a red circle and a blue square",
        "a pink circle and a blue square",
        "a red circle and a blue square and a green ring",
    ],
)
def test_garbled_captions_are_outside_the_grammar(caption: str) -> None:
    assert parse(caption) is None


def test_statements_are_in_plain_words() -> None:
    meaning = parse("a big red disc left of a blue box on a grey background")
    assert meaning is not None
    assert meaning.statements() == (
        "there is a large red circle",
        "there is a blue square",
        "large red circle left of blue square",
        "the background is grey",
    )
    counted = parse("two objects a red ring and a blue ring")
    assert counted is not None
    assert counted.statements()[-1] == "there are exactly 2 objects"

"""Faithfulness: how many captions of scenes say nothing but the truth, and how many are no sentences at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from narvl.errors import DataError
from narvl.scenes.judge import Verdict, judge
from narvl.scenes.world import Scene


@dataclass(frozen=True)
class Faithfulness:
    """How true a set of captions is.

    Attributes:
        faithful: share of captions that are grammatical and whose every statement is true, in [0, 1].
        ungrammatical: share of captions that are no sentence of the scenes' grammar, in [0, 1].
        statements: mean number of statements of a grammatical caption: saying less makes it easier to be true.
        samples: number of captions.
    """

    faithful: float
    ungrammatical: float
    statements: float
    samples: int


def judge_captions(captions: Mapping[int, str], scenes: Mapping[int, Scene]) -> dict[int, Verdict]:
    """Judge the caption of every scene.

    Args:
        captions: a caption for each id; may be empty text, which is ungrammatical.
        scenes: the truth of each id.

    Returns:
        The verdict on each id of ``scenes``.

    Raises:
        DataError: a scene has no caption.
    """
    missing = sorted(scenes.keys() - captions.keys())
    if missing:
        raise DataError(
            f"{len(missing)} of {len(scenes)} scenes have no caption, the first is id {missing[0]} (counted from 0). "
            "Generate the whole split again."
        )
    return {index: judge(captions[index], scene) for index, scene in scenes.items()}


def summarise(verdicts: Mapping[int, Verdict]) -> Faithfulness:
    """Turn verdicts into shares.

    Raises:
        DataError: there are no verdicts.
    """
    if not verdicts:
        raise DataError("there are no scenes to judge captions by: give the data of at least one row.")
    grammatical = [verdict for verdict in verdicts.values() if verdict.grammatical]
    return Faithfulness(
        faithful=sum(verdict.faithful for verdict in grammatical) / len(verdicts),
        ungrammatical=1 - len(grammatical) / len(verdicts),
        statements=sum(len(verdict.statements) for verdict in grammatical) / max(1, len(grammatical)),
        samples=len(verdicts),
    )

"""Rows of the TSV files: for each task, what is written about one scene, in OFA's columns."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from narvl.data import captioning, entailment
from narvl.data.tsv import SEPARATOR
from narvl.data.vqa import write_answers
from narvl.scenes.captions import write_captions
from narvl.scenes.expressions import refer
from narvl.scenes.hypotheses import LABELS, write_hypothesis
from narvl.scenes.questions import ask
from narvl.scenes.render import png_bytes, render
from narvl.scenes.world import Scene

# Training sees each object, and each label of the entailment task, so many times a scene; evaluation once.
TRAINING_ROUNDS = 2
# Longer than any text of the scenes: nothing is cut.
MAX_WORDS = 80


#: A question, and its answers with their confidences, the surest first.
Asked = tuple[str, tuple[tuple[float, str], ...]]


@dataclass(frozen=True)
class Row:
    """One row of a TSV file.

    Attributes:
        fields: the columns, in OFA's order.
        texts: the sentences written for the row, for people and for counting.
        target: what the model is to say, beginning with a blank; None: a box, which is no text.
    """

    fields: tuple[str, ...]
    texts: tuple[str, ...]
    target: str | None


def rows(task: str, scene: Scene, seed: int, training: bool) -> list[Row]:
    """Write a scene's rows.

    Args:
        task: a key of TASKS.
        scene: the scene.
        seed: the data set's seed. With the scene's id it decides all that is left to chance.
        training: whether the rows are of the training split, where one image has more rows.

    Returns:
        The rows, each with the image.
    """
    image = base64.urlsafe_b64encode(png_bytes(render(scene))).decode("ascii")
    # Captions have a chance of their own: the entailment task's caption is then the first of the captioning task.
    captions = write_captions(scene, random.Random(f"captions {seed} {scene.image_id}"))
    return TASKS[task](scene, image, captions, random.Random(f"{task} {seed} {scene.image_id}"), training)


def _captioning(scene: Scene, image: str, captions: list[str], rng: random.Random, training: bool) -> list[Row]:
    groups = [(caption,) for caption in captions] if training else [tuple(captions)]
    return [
        Row(
            (_row_id(scene, number), scene.image_id, SEPARATOR.join(group), _object_names(scene), image),
            group,
            f" {group[0]}",
        )
        for number, group in enumerate(groups)
    ]


def _vqa(scene: Scene, image: str, captions: list[str], rng: random.Random, training: bool) -> list[Row]:
    return _question_rows(scene, image, [(question.text, question.answers) for question in ask(scene, rng)])


def _grounding(scene: Scene, image: str, captions: list[str], rng: random.Random, training: bool) -> list[Row]:
    found = []
    for number, item in enumerate(scene.objects * _rounds(training)):
        text, box = refer(scene, item, rng), ",".join(map(str, item.box))
        found.append(Row((_row_id(scene, number), scene.image_id, text, box, image), (text, box), None))
    return found


def _entailment(scene: Scene, image: str, captions: list[str], rng: random.Random, training: bool) -> list[Row]:
    found = []
    for number, label in enumerate(LABELS * _rounds(training)):
        text, caption = write_hypothesis(scene, label, rng), captions[0]
        fields = (_row_id(scene, number), scene.image_id, image, text, caption, label)
        found.append(Row(fields, (text, label), f" {entailment.ANSWER_OF[label]}"))
    return found


def _pretraining(scene: Scene, image: str, captions: list[str], rng: random.Random, training: bool) -> list[Row]:
    """Captions, hypotheses and questions together, each as a question: one model of all three.

    The prompts come out as those of the tasks themselves, so that a model can go on with any of them.
    """
    asked: list[Asked] = [(captioning.PROMPT.strip(), ((1.0, caption),)) for caption in captions]
    for label in LABELS * _rounds(training):
        prompt = entailment.prompt(write_hypothesis(scene, label, rng), None, MAX_WORDS)
        asked.append((prompt.strip(), ((1.0, entailment.ANSWER_OF[label]),)))
    asked += [(question.text, question.answers) for question in ask(scene, rng)]
    return _question_rows(scene, image, asked)


def _question_rows(scene: Scene, image: str, asked: list[Asked]) -> list[Row]:
    found = []
    for number, (text, pairs) in enumerate(asked):
        answers = write_answers(pairs)
        fields = (_row_id(scene, number), scene.image_id, text, answers, _object_names(scene), image)
        found.append(Row(fields, (text, answers), f" {pairs[0][1]}"))
    return found


def _rounds(training: bool) -> int:
    return TRAINING_ROUNDS if training else 1


def _row_id(scene: Scene, number: int) -> str:
    return f"{scene.image_id}-{number}"


def _object_names(scene: Scene) -> str:
    """What a detector would say: the class of each object."""
    return SEPARATOR.join(item.shape for item in scene.objects)


TASKS: Mapping[str, Callable[[Scene, str, list[str], random.Random, bool], list[Row]]] = {
    "captioning": _captioning,
    "vqa": _vqa,
    "grounding": _grounding,
    "entailment": _entailment,
    "pretraining": _pretraining,
}

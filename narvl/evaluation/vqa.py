"""Visual question answering: VQAv2's soft accuracy, exact match (GQA), and both by type of question."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from narvl.data.vqa import confidence
from narvl.evaluation.normalisation import normalise

_NUMBER = re.compile(r"\d+([.:]\d+)?")


def soft_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Score an answer by the raw answers of several people, as VQAv2 does with ten.

    Each person is left out in turn: the answer earns min(n / 3, 1), n of the others having given it; the score is the
    mean. Of ten people, 1, 2, 3 and 4 or more with the same answer give 0.3, 0.6, 0.9 and 1. Both sides are normalised,
    always: the program behind the published figures does not where all ten raw answers are the same string, an
    exception that its published rules do not make.

    Args:
        prediction: what the model said.
        answers: what each person said; for other numbers of people than ten see ``narvl.data.vqa.confidence``.

    Returns:
        A value in [0, 1]; 0 where there are no answers.
    """
    said = normalise(prediction)
    same = sum(normalise(answer) == said for answer in answers)
    return confidence(same, len(answers))


def weighted_accuracy(prediction: str, answers: Sequence[tuple[float, str]]) -> float:
    """Score an answer by the confidences of a TSV file's answers column.

    OFA's files hold the soft accuracy that each of the ten people's answers earns (0.3, 0.6, 0.9 or 1). Answers that
    are the same once normalised add up: the result is what :func:`soft_accuracy` gives for the ten.

    Args:
        prediction: what the model said.
        answers: (confidence in [0, 1], answer).

    Returns:
        The summed confidence, at most 1, of the answers that are the same once normalised; 0 where none is.
    """
    said = normalise(prediction)
    return min(1.0, sum((weight for weight, answer in answers if normalise(answer) == said), start=0.0))


def exact_match(prediction: str, answer: str) -> bool:
    """Tell whether two answers are the same text, but for case and blanks (GQA's accuracy)."""
    return prediction.lower().split() == answer.lower().split()


def answer_type(answer: str) -> str:
    """Tell the type of the answer to a question, under VQAv2's names: ``yes/no``, ``number`` or ``other``."""
    text = normalise(answer)
    if text in ("yes", "no"):
        return "yes/no"
    return "number" if _NUMBER.fullmatch(text) else "other"


@dataclass(frozen=True)
class RawAnswers:
    """What people answered a question, each in their own words; one or more answers."""

    answers: tuple[str, ...]

    @property
    def best(self) -> str:
        """The answer that most people gave; of equals the first."""
        return Counter(self.answers).most_common(1)[0][0]

    def accuracy(self, prediction: str) -> float:
        """Return the soft accuracy of an answer, in [0, 1]."""
        return soft_accuracy(prediction, self.answers)


@dataclass(frozen=True)
class WeightedAnswers:
    """What people answered a question, as a TSV file holds it: (confidence, answer); one or more answers."""

    answers: tuple[tuple[float, str], ...]

    @property
    def best(self) -> str:
        """The answer of highest confidence; of equals the first."""
        return max(self.answers, key=lambda pair: pair[0])[1]

    def accuracy(self, prediction: str) -> float:
        """Return the soft accuracy of an answer, in [0, 1]."""
        return weighted_accuracy(prediction, self.answers)


@dataclass(frozen=True)
class Question:
    """What the answer to a question is judged by.

    Attributes:
        truth: what people answered.
        answer_type: ``yes/no``, ``number`` or ``other``.
        question_type: the question's first words as VQAv2's annotations give them; None where they are not known.
    """

    truth: RawAnswers | WeightedAnswers
    answer_type: str
    question_type: str | None = None


@dataclass(frozen=True)
class Share:
    """How well a group of questions is answered.

    Attributes:
        samples: number of questions.
        accuracy: mean soft accuracy, in [0, 1].
        exact_match: share of answers that are the best one word for word, in [0, 1].
    """

    samples: int
    accuracy: float
    exact_match: float


@dataclass(frozen=True)
class VqaScores:
    """The scores of one set of answers: of all questions, and of each type of answer and of question."""

    overall: Share
    by_answer_type: dict[str, Share]
    by_question_type: dict[str, Share]


def score_answers(predictions: Mapping[int, str], questions: Mapping[int, Question]) -> VqaScores:
    """Score answers.

    Args:
        predictions: the model's answer to each question; may be empty text.
        questions: one or more questions.

    Returns:
        The scores; a type's name maps to its share, in the order of the names.
    """
    every: list[tuple[float, bool]] = []
    by_answer: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
    by_question: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
    for index, question in tqdm(questions.items(), desc="score", unit="answer", leave=False, disable=None):
        said = predictions[index]
        earned = (question.truth.accuracy(said), exact_match(said, question.truth.best))
        every.append(earned)
        by_answer[question.answer_type].append(earned)
        if question.question_type is not None:
            by_question[question.question_type].append(earned)
    return VqaScores(
        _share(every),
        {name: _share(by_answer[name]) for name in sorted(by_answer)},
        {name: _share(by_question[name]) for name in sorted(by_question)},
    )


def _share(earned: Sequence[tuple[float, bool]]) -> Share:
    accuracies, exact = zip(*earned, strict=True)
    return Share(len(earned), sum(accuracies) / len(earned), sum(exact) / len(earned))

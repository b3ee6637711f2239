"""Answers: their normalisation and scores, the answers column, and the results files that hold what models say."""

from __future__ import annotations

import math
import re
from pathlib import Path

from hypothesis import strategies as st

from fuzzing.case import Case, refusal
from fuzzing.texts import texts
from narvl.data.tsv import SEPARATOR
from narvl.data.vqa import answers, write_answers
from narvl.errors import DataError
from narvl.evaluation.entailment import score_entailment
from narvl.evaluation.generations import iterate_generations, read_generations
from narvl.evaluation.normalisation import CONTRACTIONS, normalise
from narvl.evaluation.vqa import answer_type, exact_match, soft_accuracy, weighted_accuracy

_PUNCTUATION = '!"()+,-/;<=>?@[\\]_`{}'
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

#: What people write in answers, and what its rules look at.
_PIECES = (
    *_NUMBERS,
    *_PUNCTUATION,
    *("none", "the", "A", "an", "dont", "Don't", "shouldnt've", "1,000", "2.5", "p.m.", ".", "'", " "),
)


def build(folder: Path) -> list[Case]:
    """Return the cases."""
    answer = st.one_of(st.lists(st.sampled_from(_PIECES), max_size=9).map("".join), texts())
    share = st.floats(0, 1)
    return [
        Case("normalise", answer, check_normalise),
        Case("scores", st.tuples(answer, st.lists(st.tuples(share, answer), max_size=12)), check_scores),
        Case("column", st.lists(st.tuples(share, answer), max_size=4), check_column),
        Case("results", _results(), lambda data: check_results(folder / "generate-test.txt", data)),
        Case("written results", st.lists(answer, max_size=4), lambda said: check_written(folder / "w.txt", said)),
    ]


def check_normalise(answer: str) -> str:
    """Compare with the rules as the data set's page words them."""
    found = normalise(answer)
    assert found == _by_the_rules(answer), (found, _by_the_rules(answer))
    assert found == " ".join(found.split())
    return "answer" if found else "nothing left"


def _by_the_rules(answer: str) -> str:
    text = " ".join(answer.split())
    without = text
    for mark in _PUNCTUATION:
        beside_a_blank = mark + " " in text or " " + mark in text
        without = without.replace(mark, "" if beside_a_blank or re.search(r"\d,\d", text) else " ")
    kept = "".join(
        mark for place, mark in enumerate(without) if mark != "." or re.match(r"\d", without[place + 1 : place + 2])
    )
    words = []
    for word in kept.lower().split():
        word = "0" if word == "none" else str(_NUMBERS.index(word)) if word in _NUMBERS else word
        if word not in ("a", "an", "the"):
            words.append(CONTRACTIONS.get(word, word))
    return " ".join(words)


def check_scores(given: tuple[str, list[tuple[float, str]]]) -> str:
    """Score an answer in every way there is: always a share."""
    said, known = given
    others = [answer for _, answer in known]
    scores = [soft_accuracy(said, others), weighted_accuracy(said, known), float(exact_match(said, said))]
    scores += [soft_accuracy(said, [said] * 10), score_entailment({0: said}, {0: "yes"}).accuracy]
    assert all(0.0 <= score <= 1.0 for score in scores), scores
    assert scores[2] == scores[3] == 1.0
    return answer_type(said)


def check_column(found: list[tuple[float, str]]) -> str:
    """Write an answers column and read it again."""
    column = write_answers(found)
    try:
        again = answers(["1", "2", "what?", column, "", ""])
    except DataError as error:
        return refusal(error, "column 4")
    assert all(0.0 <= share <= 1.0 and answer == answer.strip() != "" for share, answer in again)
    clean = all(answer.strip() and SEPARATOR[0] not in answer for _, answer in found)
    if clean:
        assert again == [(round(share, 4), answer.strip()) for share, answer in found], again
    return "answers"


@st.composite
def _results(draw: st.DrawFn) -> bytes:
    """Draw a results file: fairseq's lines, some of them broken."""
    row = st.one_of(st.integers(0, 3).map(str), st.sampled_from(("-1", "x", "\u0663", "9" * 5000, "1e3", "")))
    number = st.one_of(st.floats().map(str), st.sampled_from(("-0.5", "1e308", "-1e308", "9" * 400, "", "x")))
    scores = st.lists(number, max_size=4).map(" ".join)
    kinds = st.one_of(
        st.builds("S-{}\t{}".format, row, texts()),
        st.builds("H-{}\t{}\t{}".format, row, number, scores),
        st.builds("D-{}\t{}\t{}".format, row, number, texts()),
        st.builds("P-{}\t{}".format, row, scores),
        texts(),
    )
    index = draw(st.integers(0, 3))
    whole = st.builds(f"S-{index}\tq\nD-{index}\t-0.5\t{{}}\nP-{index}\t{{}}".format, texts(), scores)
    lines = draw(st.lists(st.one_of(whole, kinds), max_size=6))
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    cut = draw(st.integers(0, 40))
    return draw(st.sampled_from((data, data, data[: max(0, len(data) - cut)], data.replace(b"\n", b"\r\n"))))


def check_results(path: Path, data: bytes) -> str:
    """Read a results file, as a whole and as one that is still written."""
    path.write_bytes(data)
    with path.open("rb") as file:
        try:
            for entry in iterate_generations(file, path, unfinished=True):
                assert 0 <= entry.begin < entry.end <= len(data) and entry.row >= 0
        except DataError as error:
            refusal(error, f"{path}, line ")
    try:
        found = read_generations(path)
    except DataError as error:
        return refusal(error, str(path))
    assert list(found) == sorted(found) and all(row >= 0 for row in found)
    assert all(value.log2_probability is None or math.isfinite(value.log2_probability) for value in found.values())
    return "generations"


def check_written(path: Path, said: list[str]) -> str:
    """Write texts as fairseq-generate does, with what it takes from a decoded text, and read them again."""
    said = [text.replace("\n", " ").encode("utf-8", "replace").decode() for text in said]
    lines = "".join(f"D-{row}\t-0.5\t{text}\nP-{row}\t-0.5\n" for row, text in enumerate(said))
    path.write_text(lines, encoding="utf-8", newline="\n")
    if said:
        assert [value.text for value in read_generations(path).values()] == [text.strip() for text in said]
    return "generations"

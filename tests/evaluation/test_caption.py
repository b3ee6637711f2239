"""Caption metrics: worked values, equality with pycocoevalcap, and what happens without Java or with wrong ids."""

from __future__ import annotations

import math
import random
import shutil
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from narvl.errors import DataError
from narvl.evaluation import tokenizers
from narvl.evaluation.caption import METRICS, CorpusCider, score_captions
from narvl.evaluation.java import java_version

REFERENCES = {
    0: ["a red circle is left of a blue square", "a blue square and a red circle"],
    1: ["a small green triangle", "the green triangle is small", "there is a triangle"],
    2: ["a dog runs over the grass", "the brown dog is running"],
    7: ["two people on a bench"],
}
HYPOTHESES = {0: "a red circle and a blue square", 1: "a green triangle", 2: "", 7: "two people on the bench"}

WORDS = ["a", "the", "red", "blue", "dog", "cat", "runs", "sits", "grass", "."]
SENTENCE = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
REFERENCE = st.lists(st.sampled_from(WORDS[:-1]), min_size=1, max_size=8).map(" ".join)


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)


def without_java_metrics(scores):
    return {name: value for name, value in scores.metrics.items() if name not in ("METEOR", "SPICE")}


def test_equals_direct_calls_of_pycocoevalcap(no_java):
    scores = score_captions(HYPOTHESES, REFERENCES)
    # These captions hold plain words alone, so that they are their own tokens.
    hypotheses = {index: [text] for index, text in HYPOTHESES.items()}
    bleu, _ = Bleu(4).compute_score(REFERENCES, hypotheses, verbose=0)
    assert [scores.metrics[f"BLEU-{n}"] for n in (1, 2, 3, 4)] == pytest.approx(bleu, abs=1e-12)
    assert scores.metrics["ROUGE-L"] == pytest.approx(Rouge().compute_score(REFERENCES, hypotheses)[0], abs=1e-12)
    assert scores.metrics["CIDEr"] == pytest.approx(Cider().compute_score(REFERENCES, hypotheses)[0], abs=1e-12)
    assert scores.samples == 4


def test_worked_bleu(no_java):
    # 4 of 5 words and 3 of 4 word pairs occur in the reference, both are 5 words long: no brevity penalty.
    scores = score_captions({0: "two people on a chair"}, {0: ["two people on a bench"]})
    assert scores.metrics["BLEU-1"] == pytest.approx(4 / 5)
    assert scores.metrics["BLEU-2"] == pytest.approx(math.sqrt(4 / 5 * 3 / 4))
    # 3 of 3 words, against 6: the penalty is exp(1 - 6 / 3).
    scores = score_captions({0: "two people on"}, {0: ["two people on a long bench"]})
    assert scores.metrics["BLEU-1"] == pytest.approx(math.exp(-1))


def test_worked_cider(no_java):
    # Two images with disjoint words: every n-gram of a perfect caption weighs log 2, every cosine is 1.
    references = {0: ["one red dog runs"], 1: ["two blue cats sleep"]}
    scores = score_captions({0: "one red dog runs", 1: "two blue cats sleep"}, references)
    assert scores.metrics["CIDEr"] == pytest.approx(10.0)
    scores = score_captions({0: "one red dog runs", 1: "one red dog runs"}, references)
    assert scores.metrics["CIDEr"] == pytest.approx(5.0)


def test_perfect_captions_score_one(no_java):
    scores = score_captions({index: texts[0].upper() + "." for index, texts in REFERENCES.items()}, REFERENCES)
    for name in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"):
        assert scores.metrics[name] == pytest.approx(1.0, abs=1e-6), name


def test_empty_captions_score_nothing(no_java):
    scores = score_captions({index: "" for index in REFERENCES}, REFERENCES)
    assert all(value == pytest.approx(0, abs=1e-6) for value in without_java_metrics(scores).values())


def test_order_of_ids_does_not_matter(no_java):
    scores = score_captions(HYPOTHESES, REFERENCES)
    assert score_captions(dict(reversed(HYPOTHESES.items())), dict(reversed(REFERENCES.items()))) == scores
    shifted = score_captions(
        {100 - index: text for index, text in HYPOTHESES.items()}, {100 - i: texts for i, texts in REFERENCES.items()}
    )
    assert without_java_metrics(shifted) == pytest.approx(without_java_metrics(scores), abs=1e-12)


def test_without_java_the_tokenizer_is_named_and_the_java_metrics_say_why(no_java, caplog, capfd):
    scores = score_captions(HYPOTHESES, REFERENCES)
    assert scores.tokenizer == tokenizers.PYTHON
    assert tuple(scores.metrics) == METRICS
    assert scores.metrics["METEOR"] is None and scores.metrics["SPICE"] is None
    assert all(isinstance(value, float) for value in without_java_metrics(scores).values())
    assert set(scores.not_run) == {"METEOR", "SPICE"}
    assert all("needs Java" in reason and "\n" not in reason for reason in scores.not_run.values())
    assert [record.message.split(" is not run")[0] for record in caplog.records] == ["METEOR", "SPICE"]
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(java_version() is None, reason="needs Java")
def test_with_java_the_tokenizer_is_the_coco_tools(monkeypatch):
    from narvl.evaluation import java_metrics

    monkeypatch.setattr(java_metrics, "meteor", lambda references, hypotheses: 0.25)
    monkeypatch.setattr(java_metrics, "spice", lambda references, hypotheses, download: 0.125)
    scores = score_captions({0: "A dog, isn't it?"}, {0: ["a dog is n't it"]})
    assert scores.tokenizer == tokenizers.PTB
    assert scores.metrics["BLEU-4"] == pytest.approx(1.0, abs=1e-6)
    assert (scores.metrics["METEOR"], scores.metrics["SPICE"], scores.not_run) == (0.25, 0.125, {})


def test_missing_and_extra_ids(no_java):
    with pytest.raises(
        DataError, match=r"6 of 10 rows \(ids, counted from 0: 0, 1, 2, 3, 4, \.\.\.\) have no hypothesis"
    ):
        score_captions({index: "a" for index in range(6, 10)}, {index: ["a"] for index in range(10)})
    with pytest.raises(DataError, match=r"2 of 3 hypotheses \(ids, counted from 0: 4, 5\) have no references"):
        score_captions({0: "a", 4: "a", 5: "a"}, {0: ["a"]})
    with pytest.raises(DataError, match="there are no references"):
        score_captions({}, {})


@pytest.mark.parametrize("empty", [[], [""], ["...", " "]])
def test_row_without_a_reference(no_java, empty):
    with pytest.raises(DataError, match=r"1 of 2 rows \(ids, counted from 0: 3\) have no reference with a word"):
        score_captions({0: "a", 3: "a"}, {0: ["a"], 3: empty})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(SENTENCE, st.lists(REFERENCE, min_size=1, max_size=5)), min_size=1, max_size=12))
def test_mean_of_corpus_cider_is_pycocoevalcaps_cider(samples):
    cider = CorpusCider([references for _, references in samples])
    mean = sum(cider.score(index, hypothesis) for index, (hypothesis, _) in enumerate(samples)) / len(samples)
    tokenize = tokenizers.tokenize_python
    expected, _ = Cider().compute_score(
        {index: tokenize(references) for index, (_, references) in enumerate(samples)},
        {index: tokenize([hypothesis]) for index, (hypothesis, _) in enumerate(samples)},
    )
    assert mean == pytest.approx(expected, abs=1e-9)


def test_corpus_cider_scores_alone_in_any_order_and_again():
    references = list(REFERENCES.values())
    hypotheses = list(HYPOTHESES.values())
    cider = CorpusCider(references)
    forward = [cider.score(index, hypothesis) for index, hypothesis in enumerate(hypotheses)]
    other_worker = CorpusCider(references)
    backward = [other_worker.score(index, hypotheses[index]) for index in (3, 2, 1, 0)]
    assert backward[::-1] == forward
    _, expected = Cider().compute_score(
        {i: texts for i, texts in enumerate(references)}, {i: [text] for i, text in enumerate(hypotheses)}
    )
    assert forward == pytest.approx(list(expected), abs=1e-12)
    assert forward[2] == 0.0 and min(forward[0], forward[1], forward[3]) > 0


def test_corpus_cider_does_not_grow_with_what_it_scores():
    cider = CorpusCider(list(REFERENCES.values()))
    size = len(cider._scorer.document_frequency)
    cider.score(0, "words that no reference has ever held")
    assert len(cider._scorer.document_frequency) == size


def test_corpus_cider_refuses_what_has_no_meaning():
    with pytest.raises(DataError, match="validation set is empty"):
        CorpusCider([])
    with pytest.raises(DataError, match=r"counted from 0: 1\) have no reference"):
        CorpusCider([["a dog"], ["."]])
    with pytest.raises(IndexError):
        CorpusCider([["a dog"]]).score(-1, "a dog")


def test_corpus_cider_is_fast():
    rng = random.Random(0)
    references = [[" ".join(rng.choices(WORDS[:-1], k=12)) for _ in range(5)] for _ in range(500)]
    start = time.process_time()
    cider = CorpusCider(references)
    for index, texts in enumerate(references):
        cider.score(index, texts[0])
    assert time.process_time() - start < 10  # 0.3 s where nothing else runs

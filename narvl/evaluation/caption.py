"""Caption metrics of the COCO tools: BLEU-1..4, METEOR, ROUGE-L, CIDEr and SPICE, computed by pycocoevalcap."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_test
from pycocoevalcap.rouge.rouge import Rouge

from narvl.errors import DataError
from narvl.evaluation import java_metrics, tokenizers
from narvl.evaluation.java import java_version

logger = logging.getLogger(__name__)

#: The metrics, in the order in which papers print them.
METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE")

_BLEU_ORDER = 4


@dataclass(frozen=True)
class CaptionScores:
    """The metrics of one set of captions.

    Attributes:
        metrics: each of ``METRICS``, as a fraction (CIDEr may exceed 1); None where it was not run.
        not_run: the reason of each metric that was not run.
        tokenizer: which tokenizer cut the captions; scores of different ones do not compare.
        samples: number of captions.
    """

    metrics: dict[str, float | None]
    not_run: dict[str, str]
    tokenizer: str
    samples: int


def score_captions(
    hypotheses: Mapping[int, str], references: Mapping[int, list[str]], *, download_spice: bool = False
) -> CaptionScores:
    """Score captions against their references.

    Without Java, captions are cut by a Python tokenizer, and METEOR and SPICE are not run.

    Args:
        hypotheses: the caption of each id; may be empty text.
        references: one or more references of each id; the ids must be those of ``hypotheses``.
        download_spice: download what SPICE misses instead of leaving SPICE out.

    Returns:
        All metrics, with the reason of each that was not run.

    Raises:
        DataError: an id lacks its caption or has no reference with a word in it, or a caption has no references.
        UsageError: Java is there but its tokenizer fails.
    """
    _check_ids(hypotheses, references)
    ids = sorted(references)
    name, tokenize = choose_tokenizer()
    words = {index: [text] for index, text in zip(ids, tokenize([hypotheses[index] for index in ids]), strict=True)}
    reference_words = _tokenize_references({index: references[index] for index in ids}, tokenize)

    bleu, _ = Bleu(_BLEU_ORDER).compute_score(reference_words, words, verbose=0)
    metrics: dict[str, float | None] = {f"BLEU-{n}": float(value) for n, value in enumerate(bleu, start=1)}
    metrics["ROUGE-L"] = float(Rouge().compute_score(reference_words, words)[0])
    metrics["CIDEr"] = float(Cider().compute_score(reference_words, words)[0])

    not_run: dict[str, str] = {}
    in_java: dict[str, Callable[[], float]] = {
        "METEOR": lambda: java_metrics.meteor(reference_words, words),
        "SPICE": lambda: java_metrics.spice(reference_words, words, download=download_spice),
    }
    for metric, compute in in_java.items():
        try:
            metrics[metric] = compute()
        except java_metrics.MetricNotRunError as reason:
            logger.warning("%s is not run: %s", metric, reason)
            metrics[metric], not_run[metric] = None, str(reason)
    return CaptionScores({metric: metrics[metric] for metric in METRICS}, not_run, name, len(ids))


def choose_tokenizer() -> tuple[str, Callable[[Sequence[str]], list[str]]]:
    """Return the tokenizer that can run here, with its name: the COCO tools' own where Java is, or the Python one."""
    if java_version() is not None and tokenizers.JAR.is_file():
        return tokenizers.PTB, tokenizers.tokenize_ptb
    return tokenizers.PYTHON, tokenizers.tokenize_python


def _tokenize_references(
    references: Mapping[int, Sequence[str]], tokenize: Callable[[Sequence[str]], list[str]]
) -> dict[int, list[str]]:
    flat = iter(tokenize([text for texts in references.values() for text in texts]))
    cut = {index: [next(flat) for _ in texts] for index, texts in references.items()}
    empty = [index for index, texts in cut.items() if not any(texts)]
    if empty:
        raise DataError(
            f"{_counted(empty, len(cut))} no reference with a word in it: write at least one reference in each row."
        )
    return cut


def _check_ids(hypotheses: Mapping[int, str], references: Mapping[int, list[str]]) -> None:
    if not references:
        raise DataError("there are no references: give the data of at least one row.")
    missing = sorted(references.keys() - hypotheses.keys())
    if missing:
        raise DataError(
            f"{_counted(missing, len(references))} no hypothesis. Generate the whole split again: fairseq-generate may "
            "have been stopped, or have dropped a batch."
        )
    extra = sorted(hypotheses.keys() - references.keys())
    if extra:
        raise DataError(
            f"{_counted(extra, len(hypotheses), 'hypotheses')} no references. The results belong to another split or "
            "another version of the data."
        )


def _counted(ids: Collection[int], total: int, noun: str = "rows") -> str:
    first = ", ".join(str(index) for index in sorted(ids)[:5])
    more = ", ..." if len(ids) > 5 else ""
    return f"{len(ids)} of {total} {noun} (ids, counted from 0: {first}{more}) have"


class CorpusCider:
    """CIDEr of single captions, for validation during training.

    The document frequencies come from all references once; then each caption is scored alone, on any worker, so that
    the mean of ``score`` over the corpus is pycocoevalcap's corpus CIDEr. No Java: captions are cut by the Python
    tokenizer.

    Args:
        references: the references of each sample of the whole validation set.

    Raises:
        DataError: there is no sample, or one has no reference with a word in it.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        if not references:
            raise DataError("there are no references: the validation set is empty.")
        cut = _tokenize_references(dict(enumerate(references)), tokenizers.tokenize_python)
        self._scorer = CiderScorer()
        for texts in cut.values():
            self._scorer += (None, texts)
        self._scorer.compute_doc_freq()
        # Looking an unknown n-gram up in pycocoevalcap's defaultdict would store it: a leak over a long training.
        self._scorer.document_frequency = Counter(self._scorer.document_frequency)
        self._cooked = list(self._scorer.crefs)

    def __len__(self) -> int:
        return len(self._cooked)

    def score(self, index: int, hypothesis: str) -> float:
        """Return one caption's CIDEr.

        Args:
            index: 0-based index of the sample in the references.
            hypothesis: plain text; may be empty, which scores 0.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        (words,) = tokenizers.tokenize_python([hypothesis])
        # The scorer pairs captions with references until one list ends, but takes the corpus size from the references:
        # one caption beside a full list, with its references in front, is scored alone and weighted by the corpus.
        self._scorer.ctest = [cook_test(words)]
        self._scorer.crefs[0] = self._cooked[index]
        (score,) = self._scorer.compute_cider()
        return float(score)

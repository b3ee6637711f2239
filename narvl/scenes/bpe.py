"""A byte-level BPE for the scenes' language, trained here and written in GPT-2's file formats.

Its text is always the same: the language of all tasks over scenes of its own. So every data set, whatever its task,
seed and size, has the same vocabulary, and a model of one task can start from a model of another.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from narvl.data import captioning, entailment, grounding, vqa
from narvl.scenes.captions import write_captions
from narvl.scenes.expressions import refer
from narvl.scenes.hypotheses import LABELS, write_hypothesis
from narvl.scenes.questions import ask
from narvl.scenes.world import MAX_OBJECTS, MIN_OBJECTS, sample_scene

CORPUS_SCENES = 500
# The training stops by itself far below this, when every word of the text is one token.
MAX_VOCABULARY = 2000

# Longer than any text of the scenes: nothing is cut.
WORDS = 80


def corpus() -> Iterator[str]:
    """Write the text that the BPE is trained on: the same at every call.

    Yields:
        Sources and targets of the four tasks, each beginning with a blank, as the model reads and writes them.
    """
    for index in range(CORPUS_SCENES):
        scene = sample_scene(0, "bpe", index, objects=(MIN_OBJECTS, MAX_OBJECTS))
        rng = random.Random(f"bpe {index}")
        captions = write_captions(scene, rng)
        yield captioning.PROMPT
        yield from (f" {caption}" for caption in captions)
        for question in ask(scene, rng):
            yield vqa.prompt(question.text, [item.shape for item in scene.objects], WORDS)
            yield from (f" {answer}" for _, answer in question.answers)
        for item in scene.objects:
            yield grounding.prompt(refer(scene, item, rng), WORDS)
        for label in LABELS:
            hypothesis = write_hypothesis(scene, label, rng)
            yield entailment.prompt(hypothesis, None, WORDS)
            yield entailment.prompt(hypothesis, captions[0], WORDS)
            yield f" {entailment.ANSWER_OF[label]}"


@cache
def train() -> tuple[Tokenizer, Counter[int]]:
    """Train the BPE, once a process: the result is always the same.

    Returns:
        The tokenizer, and how often the training text has each token id.
    """
    lines = list(corpus())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch(lines):
        counts.update(encoding.ids)
    return tokenizer, counts


def gpt2_files(tokenizer: Tokenizer, counts: Counter[int]) -> dict[str, bytes]:
    """Write a tokenizer in GPT-2's file formats.

    Args:
        tokenizer: a byte-level BPE.
        counts: how often each token id occurs; ids that do not occur may be missing.

    Returns:
        The bytes by file name: encoder.json (token to id), vocab.bpe (a header, then the merges in order) and dict.txt
        (fairseq's dictionary: every id and its count, the most frequent first).
    """
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = (Path(path).read_bytes() for path in tokenizer.model.save(folder))
    ids = sorted(range(tokenizer.get_vocab_size()), key=lambda token: (-counts[token], token))
    dictionary = "".join(f"{token} {counts[token]}\n" for token in ids)
    return {"encoder.json": vocabulary, "vocab.bpe": merges, "dict.txt": dictionary.encode()}

"""The answers that an autoregressive model is held to: read, checked, tokenised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from narvl.data.vocabulary import Vocabulary
from narvl.decoding.trie import Trie
from narvl.errors import DataError, UsageError


class Candidates:
    """Candidate answers, tokenised as targets are.

    Args:
        texts: the answers; each is said once.
        vocabulary: text to tokens.

    Attributes:
        texts: the answers.
        tokens: the tokens of each, ending in ``</s>``.
        trie: their prefixes.

    Raises:
        UsageError: there is no answer, one is empty, or two are the same.
    """

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary) -> None:
        if not texts:
            raise UsageError("--candidates: there is no answer to choose from. Give at least one.")
        dictionary = vocabulary.dictionary
        end = torch.tensor([dictionary.eos()])
        self.texts = list(texts)
        self.tokens = []
        seen: dict[tuple[int, ...], str] = {}
        for text in self.texts:
            if not text.strip():
                raise UsageError(f"--candidates: the answer {text!r} is empty. Leave it out.")
            answer = vocabulary.encode(f" {text}")
            key = tuple(answer.tolist())
            if key in seen:
                raise UsageError(f"--candidates: the answers {seen[key]!r} and {text!r} are the same. Leave one out.")
            seen[key] = text
            self.tokens.append(torch.cat([answer, end]))
        self.trie = Trie([tokens.tolist() for tokens in self.tokens], len(dictionary), dictionary.eos())

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def longest(self) -> int:
        """Tokens of the longest answer, without ``</s>``."""
        return max(self.trie.lengths) - 1


def read_candidates(path: str | Path) -> list[str]:
    """Read candidate answers.

    Args:
        path: text in UTF-8 with one answer a line; or, named ``.json``, a list of answers or a dictionary whose keys
            are the answers (answer to label, as VQA's answer lists are published).

    Returns:
        The answers, without the blanks around them.

    Raises:
        DataError: the file cannot be read, is a pickle, or holds no answers, an empty one or one twice.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"--candidates {file}: {error.strerror}. Give a file with one answer a line.") from error
    # Pickles begin so from protocol 2 on; older ones are recognised by their name.
    if content.startswith(b"\x80") or file.suffix in (".pkl", ".pickle", ".p"):
        raise DataError(
            f"--candidates {file}: this is a pickle, and reading one may run any code in it. Where you trust its "
            "source, convert it once by json.dump(pickle.load(open('answers.pkl', 'rb')), open('answers.json', 'w'))."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"--candidates {file}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from error
    answers = _json_answers(file, text) if file.suffix == ".json" else text.splitlines()
    if not answers:
        raise DataError(f"--candidates {file}: the file holds no answer. Write one answer a line.")
    answers = [answer.strip() for answer in answers]
    rows: dict[str, int] = {}
    for row, answer in enumerate(answers, start=1):
        if not answer:
            raise DataError(f"--candidates {file}:{row}: the answer is empty. Remove it.")
        if answer in rows:
            raise DataError(f"--candidates {file}:{row}: {answer!r} is in row {rows[answer]} too. Remove one.")
        rows[answer] = row
    return answers


def _json_answers(file: Path, text: str) -> list[str]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"--candidates {file}:{error.lineno}: not JSON ({error.msg}). Mend the file.") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits; brackets in brackets
        raise DataError(f"--candidates {file}: not JSON ({error}). Mend the file.") from error
    if not isinstance(content, list | dict) or not all(isinstance(answer, str) for answer in content):
        raise DataError(
            f"--candidates {file}: give a JSON list of answers, or a dictionary from answers to labels, "
            f"not {text[:40]!r}."
        )
    return list(content)

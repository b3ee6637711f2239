from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from narvl.data.vocabulary import Vocabulary
from narvl.decoding.candidates import Candidates, read_candidates
from narvl.errors import DataError, UsageError


@pytest.fixture(scope="module")
def vocabulary(scenes: Path) -> Vocabulary:
    return Vocabulary(scenes, code_dict_size=0, num_bins=10)


class TestCandidates:
    def test_are_tokenised_as_targets_are(self, vocabulary: Vocabulary) -> None:
        texts = ["yes", "no", "a red ball", "a red", "3"]
        candidates = Candidates(texts, vocabulary)
        end = vocabulary.dictionary.eos()
        assert len(candidates) == 5
        for text, tokens in zip(texts, candidates.tokens, strict=True):
            assert tokens.tolist() == [*vocabulary.encode(f" {text}").tolist(), end]
            assert vocabulary.decode(tokens) == text
        assert candidates.longest == max(len(tokens) for tokens in candidates.tokens) - 1

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ([], "there is no answer to choose from"),
            (["yes", " "], "the answer ' ' is empty"),
            (["yes", "no", "yes"], "the answers 'yes' and 'yes' are the same"),
        ],
    )
    def test_are_checked(self, vocabulary: Vocabulary, texts: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=f"--candidates: {message}"):
            Candidates(texts, vocabulary)


class TestReading:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("answers.txt", "yes\nno\n two dogs \ncafé"),
            ("answers.txt", "\ufeffyes\r\nno\r\ntwo dogs\r\ncafé\r\n"),
            ("answers.json", json.dumps(["yes", "no", "two dogs", "café"])),
            ("answers.json", json.dumps({"yes": 0, "no": 1, "two dogs": 2, "café": 3}, ensure_ascii=False)),
        ],
    )
    def test_layouts(self, tmp_path: Path, name: str, content: str) -> None:
        path = tmp_path / name
        path.write_bytes(content.encode())
        assert read_candidates(path) == ["yes", "no", "two dogs", "café"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", b"", ": the file holds no answer"),
            ("a.json", b"{}", ": the file holds no answer"),
            ("a.txt", b"yes\n\nno\n", ":2: the answer is empty"),
            ("a.txt", b"yes\nno\nyes \n", ":3: 'yes' is in row 1 too"),
            ("a.txt", b"yes\ncaf\xe9\n", ": byte 7 is not UTF-8"),
            ("a.json", b'["yes",\n"no"', ":2: not JSON"),
            ("a.json", b"[" + b"9" * 5000 + b"]", ": not JSON"),
            ("a.json", b"[" * 100_000, ": not JSON"),
            ("a.json", b'"yes"', ": give a JSON list of answers"),
            ("a.json", b'["yes", 3]', ": give a JSON list of answers"),
        ],
    )
    def test_bad_files_are_named_with_row(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            read_candidates(path)
        assert str(error.value).startswith(f"--candidates {path}{message}")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none\.txt: No such file"):
            read_candidates(tmp_path / "none.txt")

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_pickle_is_refused_and_runs_nothing(self, tmp_path: Path, protocol: int) -> None:
        path, ran = tmp_path / ("answers.pkl" if protocol < 2 else "answers.txt"), tmp_path / "ran"

        class Hostile:
            def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
                return Path.touch, (ran,)

        path.write_bytes(pickle.dumps(Hostile(), protocol))
        with pytest.raises(DataError, match=r"this is a pickle.*json\.dump"):
            read_candidates(path)
        assert not ran.exists()
        pickle.loads(path.read_bytes())
        assert ran.exists(), "the pickle must be one that does something"

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from narvl.data.vocabulary import BPE_FILES, Vocabulary, find_bpe
from narvl.errors import DataError, UsageError


@pytest.fixture(scope="module")
def real(shared: Path) -> Vocabulary:
    return Vocabulary(shared / "data" / "gpt2-bpe")


@pytest.fixture(scope="module")
def small(scenes: Path) -> Vocabulary:
    return Vocabulary(scenes, code_dict_size=3, num_bins=7)


def test_the_files_of_a_checkpoint_are_found_from_any_folder(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(scenes, tmp_path / "project" / "data")
    checkpoint = tmp_path / "project" / "runs" / "a" / "checkpoint.pt"
    (tmp_path / "project" / "other").mkdir()
    for folder in ("project", "project/other", "."):
        monkeypatch.chdir(tmp_path / folder)
        for told in ("data", str(data)):
            found = find_bpe(checkpoint, told)
            assert found is not None and found.samefile(data)
    (data / "dict.txt").unlink()
    assert find_bpe(checkpoint, "data") is None


class TestRealVocabulary:
    """The ids of OFA's public checkpoints."""

    def test_ids(self, real: Vocabulary) -> None:
        symbols = real.dictionary
        assert len(symbols) == 59457
        specials = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
        assert {name: symbols.index(name) for name in specials} == specials
        assert [symbols[index] for index in (50261, 50262, 50263)] == [f"madeupword000{index}" for index in range(3)]
        assert symbols.index("<mask>") == 50264
        assert [symbols.index(f"<code_{index}>") for index in (0, 8191)] == [50265, 58456]
        assert [symbols.index(f"<bin_{index}>") for index in (0, 999)] == [58457, 59456]
        assert (real.first_bin, real.num_bins) == (58457, 1000)

    def test_what_a_text_task_may_say(self, real: Vocabulary) -> None:
        allowed = real.text_mask()
        assert (allowed.dtype, allowed.shape) == (torch.bool, (59457,))
        never = [0, 1, 3, *range(50261, 59457)]  # <s>, <pad>, <unk>, fillers, <mask>, codes, bins
        assert not allowed[never].any()
        assert allowed[2] and allowed[4:50261].all()

    @pytest.mark.parametrize(
        ("text", "ids"),
        [
            (" what does the image describe?", [99, 473, 5, 2274, 6190, 116]),
            (" a man walking", [10, 313, 3051]),
            (" Ein Käse für 犬", None),
        ],
    )
    def test_text_and_back(self, real: Vocabulary, text: str, ids: list[int] | None) -> None:
        tokens = real.encode(text)
        assert tokens.dtype == torch.long
        assert ids is None or tokens.tolist() == ids
        assert real.decode(tokens) == text.strip()
        assert real.text_mask()[tokens].all()


class TestSmallVocabulary:
    def test_symbols_follow_the_bpe(self, small: Vocabulary) -> None:
        symbols = small.dictionary
        last = [symbols[index] for index in range(len(symbols) - 11, len(symbols))]
        assert last == ["<mask>", *(f"<code_{index}>" for index in range(3)), *(f"<bin_{index}>" for index in range(7))]
        assert symbols[small.first_bin] == "<bin_0>"

    def test_the_blank_is_no_symbol(self, small: Vocabulary) -> None:
        assert not [symbol for symbol in small.dictionary.symbols if "blank" in symbol]

    def test_every_other_symbol_is_a_bpe_token_that_may_be_said(self, small: Vocabulary) -> None:
        allowed = small.text_mask()
        assert int(allowed.sum()) == len(small.dictionary) - 4 - 11 + 1
        assert not allowed[small.first_bin - 4 :].any()

    def test_text_and_back(self, small: Vocabulary) -> None:
        text = "below an orange square there is a big purple ring"
        assert small.decode(small.encode(f" {text}")) == text

    def test_unknown_text_is_no_error(self, small: Vocabulary) -> None:
        """GPT-2's BPE works on bytes, so that any text has tokens."""
        assert small.decode(small.encode(" Ölgötze 犬")) == "Ölgötze 犬"

    def test_nothing(self, small: Vocabulary) -> None:
        assert small.encode("").tolist() == []
        assert small.decode(torch.tensor([], dtype=torch.long)) == ""


class TestDecoding:
    """Symbols that are no text stay as they are, where fairseq's own BPE stops with an error."""

    @pytest.mark.parametrize(
        ("before", "symbols", "after", "expected"),
        [
            ("", ["<bin_0>", "<bin_6>"], "", "<bin_0> <bin_6>"),
            (" a ring", ["<code_2>"], " below", "a ring<code_2> below"),
            ("", ["<mask>"], " a ring", "<mask> a ring"),
            (" a ring", ["<unk>"], "", "a ring<unk>"),
        ],
    )
    def test_symbols_among_text(
        self, small: Vocabulary, before: str, symbols: list[str], after: str, expected: str
    ) -> None:
        ids = torch.tensor([small.dictionary.index(symbol) for symbol in symbols])
        tokens = torch.cat([small.encode(before), ids, small.encode(after)])
        assert small.decode(tokens) == expected

    def test_begin_and_end_are_left_out(self, small: Vocabulary) -> None:
        tokens = torch.cat([torch.tensor([0]), small.encode(" a ring"), torch.tensor([2])])
        assert small.decode(tokens) == "a ring"

    def test_a_filler_is_no_error(self, real: Vocabulary) -> None:
        assert real.decode(torch.tensor([10, 50261, 313])) == "amadeupword0000 man"


class TestBadFolders:
    @pytest.fixture()
    def folder(self, scenes: Path, tmp_path: Path) -> Path:
        for name in BPE_FILES:
            shutil.copy(scenes / name, tmp_path / name)
        return tmp_path

    @pytest.mark.parametrize("name", BPE_FILES)
    def test_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(UsageError, match=f"--bpe-dir .*: no {name} in it. Give the folder that holds"):
            Vocabulary(folder)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no encoder.json, vocab.bpe, dict.txt in it"):
            Vocabulary(tmp_path / "nowhere")

    def test_files_of_different_origin(self, folder: Path) -> None:
        (folder / "dict.txt").write_text("the 5\na 4\n")
        with pytest.raises(UsageError, match="dict.txt and encoder.json share no token"):
            Vocabulary(folder)

    def test_fillers_may_never_be_said(self, folder: Path) -> None:
        with (folder / "dict.txt").open("a") as file:
            file.write("madeupword0000 0\n999999 0\n")
        vocabulary = Vocabulary(folder, code_dict_size=0, num_bins=0)
        fillers = [vocabulary.dictionary.index(symbol) for symbol in ("madeupword0000", "999999")]
        assert vocabulary.dictionary.unk() not in fillers
        assert not vocabulary.text_mask()[fillers].any()

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("encoder.json", "{"),
            ("encoder.json", "[1, 2]"),
            ("encoder.json", '{"a": []}'),
            ("vocab.bpe", "#version: 0.2\na b c\n"),
            ("dict.txt", "1 x\n"),
            ("dict.txt", "1 5\n1 5\n"),
            ("dict.txt", "1 5\n" + "9" * 5000 + " 5\n"),
        ],
    )
    def test_damaged_files(self, folder: Path, name: str, content: str) -> None:
        (folder / name).write_text(content)
        with pytest.raises(UsageError, match=f"--bpe-dir {folder}: "):
            Vocabulary(folder)

    @pytest.mark.parametrize("symbol", ["<mask>", "<code_0>", "<bin_0>", "<bin_99>"])
    def test_a_symbol_that_has_an_id_already(self, folder: Path, symbol: str) -> None:
        """It would keep that id, and the bins be others than those that boxes are said by."""
        rows = len((folder / "dict.txt").read_text().splitlines())
        with (folder / "dict.txt").open("a") as file:
            file.write(f"{symbol} 1\n")
        with pytest.raises(UsageError, match=f"--bpe-dir .*: dict.txt, row {rows + 1}: {symbol} .* Remove the row"):
            Vocabulary(folder, code_dict_size=3, num_bins=7)

    @pytest.mark.parametrize("name", ["dict.txt", "encoder.json"])
    def test_a_file_that_lacks_a_token(self, folder: Path, name: str) -> None:
        """Texts would be <unk> in its place, unnoticed."""
        whole = Vocabulary(folder, code_dict_size=0, num_bins=0)
        symbol = whole.dictionary[int(whole.encode(" yes")[0])]
        if name == "dict.txt":
            lines = (folder / name).read_text().splitlines(keepends=True)
            (folder / name).write_text("".join(line for line in lines if line.split()[0] != symbol))
        else:
            tokens = json.loads((folder / name).read_text())
            del tokens["\u0120yes"]
            (folder / name).write_text(json.dumps(tokens))
        with pytest.raises(UsageError, match="1 tokens of vocab.bpe are not in .*, first '\u0120yes'"):
            Vocabulary(folder)

    @pytest.mark.parametrize("number", [-1, 1_000_001, 10**12])
    def test_numbers_of_symbols(self, scenes: Path, number: int) -> None:
        with pytest.raises(UsageError, match=f"--num-bins {number}: give 0 to 1,000,000"):
            Vocabulary(scenes, num_bins=number)
        with pytest.raises(UsageError, match=f"--code-dict-size {number}: "):
            Vocabulary(scenes, code_dict_size=number)


class TestHostileTexts:
    @pytest.mark.parametrize(
        "text",
        [
            *("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<bin_3>", " <bin_0> <bin_1>", "<code_2>", "<|endoftext|>"),
            *("\x00", "\r\n", "\x85\u2028", "\u0120", "5 17 256", "&&", "|!+", "\u202e\ufeff\U0010ffff"),
        ],
    )
    def test_no_symbol_can_be_written_as_text(self, small: Vocabulary, text: str) -> None:
        tokens = small.encode(text)
        allowed = small.text_mask()
        allowed[small.dictionary.eos()] = False
        assert len(tokens) > 0 and bool(allowed[tokens].all())

    def test_half_a_character_is_no_text(self, small: Vocabulary) -> None:
        with pytest.raises(DataError, match=r"the text 'a\\ud800' is not Unicode"):
            small.encode("a\ud800")

    def test_endless_texts(self, small: Vocabulary) -> None:
        with pytest.raises(DataError, match="has 10,001 characters; at most 10,000 are read"):
            small.encode("x" * 10_001)

    def test_what_is_said_is_one_line(self, small: Vocabulary) -> None:
        """A line feed would end a line of generate-*.txt, and begin another of the model's choice."""
        said = small.encode(" a ring\nD-7\t0.0\tan axe\x1b[2J\x85")
        assert small.decode(said) == "a ring D-7 0.0 an axe [2J"

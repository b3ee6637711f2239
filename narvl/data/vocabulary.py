"""The vocabulary: BPE tokens, then mask, image codes and location bins; and which of them a task may say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe import GPT2BPE, GPT2BPEConfig
from torch import Tensor

from narvl.errors import DataError, UsageError

BPE_FILES = ("encoder.json", "vocab.bpe", "dict.txt")

#: Image codes or location bins that a vocabulary may have; OFA's checkpoints have 8,192 and 1,000.
MAX_SYMBOLS = 1_000_000
#: Characters that are encoded. Far more than a model reads; BPE's time grows with the square of an endless word.
MAX_CHARACTERS = 10_000

# The symbols that follow dict.txt's.
_ADDED = re.compile(r"<mask>|<(?:code|bin)_[0-9]+>")
# Control characters: a decoded text is one line of a results file, and may end on a terminal.
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")


def find_bpe(checkpoint: str | Path, told: str) -> Path | None:
    """Find the BPE files that a checkpoint was trained with, from whatever folder one asks.

    Args:
        checkpoint: the file.
        told: their folder as the training was told: often relative to where it was started, which mostly is a folder
            above the checkpoint.

    Returns:
        The folder; None where it is not there.
    """
    places = (base / told for base in (Path(), *Path(checkpoint).absolute().parents))
    return next((folder for folder in places if all((folder / name).is_file() for name in BPE_FILES)), None)


class SymbolBPE(GPT2BPE):
    """GPT-2's BPE, with the symbols that are no text (``<bin_7>``, fillers) left as they are.

    fairseq's own class stops at the first symbol that is no number.
    """

    def decode(self, x: str) -> str:
        """Decode a line of BPE ids and symbols, separated by blanks, to a line of text: control characters go."""
        runs = itertools.groupby(x.split(), key=self.is_text)
        texts = (super(SymbolBPE, self).decode(" ".join(run)) if text else " ".join(run) for text, run in runs)
        return "".join(texts).translate(_CONTROLS)

    def is_text(self, token: str) -> bool:
        """Tell whether a symbol is the id of a BPE token."""
        return token.isascii() and token.isdigit() and int(token) in self.bpe.decoder


class Vocabulary:
    """Text and symbols as token ids.

    Args:
        bpe_dir: folder with GPT-2's files ``encoder.json``, ``vocab.bpe`` and fairseq's ``dict.txt``.
        code_dict_size: number of image codes ``<code_i>``; 8,192 in OFA's checkpoints.
        num_bins: number of location bins ``<bin_i>``; 1,000 in OFA's checkpoints.

    Attributes:
        dictionary: fairseq's dictionary of all V symbols. The blank is not one of them: it is an output class of the
            parallel model alone, so it can never show in a decoded string.
        bpe: the BPE that turns text into the dictionary's symbols and back.

    Raises:
        UsageError: a file is missing or damaged, the folder's files do not belong together, or a number of symbols is
            impossible.
    """

    def __init__(self, bpe_dir: str | Path, code_dict_size: int = 8192, num_bins: int = 1000) -> None:
        for flag, number in (("--code-dict-size", code_dict_size), ("--num-bins", num_bins)):
            if not 0 <= number <= MAX_SYMBOLS:
                raise UsageError(f"{flag} {number}: give 0 to {MAX_SYMBOLS:,}.")
        directory = Path(bpe_dir)
        missing = [name for name in BPE_FILES if not (directory / name).is_file()]
        if missing:
            raise UsageError(
                f"--bpe-dir {directory}: no {', '.join(missing)} in it. Give the folder that holds "
                f"{', '.join(BPE_FILES)} (GPT-2's BPE, or the one that `narvl scenes` writes)."
            )
        config = GPT2BPEConfig(
            gpt2_encoder_json=str(directory / "encoder.json"), gpt2_vocab_bpe=str(directory / "vocab.bpe")
        )
        try:
            self.bpe = SymbolBPE(config)
            self.dictionary = Dictionary.load(str(directory / "dict.txt"))
            # dict.txt may be padded with fillers that the BPE cannot decode; they must never be said.
            self._sayable = [
                index
                for index in range(self.dictionary.nspecial, len(self.dictionary))
                if self.bpe.is_text(self.dictionary[index])
            ]
        except Exception as error:  # fairseq reads them without checks: anything may come of a damaged one
            raise UsageError(
                f"--bpe-dir {directory}: {', '.join(BPE_FILES)} cannot be read ({type(error).__name__}: {error}). One "
                "of them is damaged: copy the three again."
            ) from error
        if not self._sayable:
            raise UsageError(
                f"--bpe-dir {directory}: dict.txt and encoder.json share no token. Give files made together."
            )
        self._check_complete(directory)
        self._check_free(directory)
        tokens = len(self.dictionary)
        self.dictionary.add_symbol("<mask>")
        for index in range(code_dict_size):
            self.dictionary.add_symbol(f"<code_{index}>")
        self.first_bin: int = len(self.dictionary)
        self.num_bins = num_bins
        for index in range(num_bins):
            self.dictionary.add_symbol(f"<bin_{index}>")
        assert len(self.dictionary) == tokens + 1 + code_dict_size + num_bins, "a symbol had an id already"

    def encode(self, text: str) -> Tensor:
        """Encode text as token ids (L,), without ``<s>`` or ``</s>``; a leading blank belongs to the first word.

        Whatever the text says, the tokens are those of text: no symbol can be written in it.

        Raises:
            DataError: it is longer than ``MAX_CHARACTERS``, or is no Unicode text.
        """
        if len(text) > MAX_CHARACTERS:
            raise DataError(
                f"the text {text[:40]!r}... has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read. Cut it."
            )
        try:
            line: str = self.bpe.encode(text)
        except UnicodeEncodeError as error:
            raise DataError(f"the text {text[:40]!r} is not Unicode ({error.reason}). Write it in UTF-8.") from error
        return self.dictionary.encode_line(line, append_eos=False, add_if_not_exist=False).long()

    def encode_bins(self, bins: Sequence[int]) -> Tensor:
        """Encode location bins (0-based) as token ids."""
        return torch.tensor(bins) + self.first_bin

    def decode(self, tokens: Tensor) -> str:
        """Decode token ids (L,) to text; special symbols are left out."""
        return self.bpe.decode(self.dictionary.string(tokens)).strip()

    def text_mask(self) -> Tensor:
        """Return which symbols a text task may say: BPE tokens and ``</s>``; bool (V,)."""
        allowed = torch.zeros(len(self.dictionary), dtype=torch.bool)
        allowed[self._sayable] = True
        allowed[self.dictionary.eos()] = True
        return allowed

    def bin_mask(self) -> Tensor:
        """Return which symbols a box may be said by: location bins and ``</s>``; bool (V,)."""
        allowed = torch.zeros(len(self.dictionary), dtype=torch.bool)
        allowed[self.first_bin : self.first_bin + self.num_bins] = True
        allowed[self.dictionary.eos()] = True
        return allowed

    def _check_free(self, directory: Path) -> None:
        """Check that dict.txt has no symbol that is added to it: it would keep its id, and every bin be another."""
        for index in range(self.dictionary.nspecial, len(self.dictionary)):
            if _ADDED.fullmatch(symbol := self.dictionary[index]):
                raise UsageError(
                    f"--bpe-dir {directory}: dict.txt, row {index - self.dictionary.nspecial + 1}: {symbol} is added "
                    "after its tokens. Remove the row, or give the file as it came with the BPE."
                )

    def _check_complete(self, directory: Path) -> None:
        """Check that every text can be written, without ``<unk>``: the tokens of all bytes and merges have ids."""
        bpe = self.bpe.bpe
        tokens = itertools.chain(bpe.byte_decoder, ("".join(pair) for pair in bpe.bpe_ranks))
        lost = [token for token in tokens if str(bpe.encoder.get(token)) not in self.dictionary]
        if lost:
            raise UsageError(
                f"--bpe-dir {directory}: {len(lost):,} tokens of vocab.bpe are not in encoder.json or dict.txt, first "
                f"{lost[0]!r}. Give files made together; one may be cut off."
            )

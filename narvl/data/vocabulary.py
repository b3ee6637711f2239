"""The vocabulary: BPE tokens, then mask, image codes and location bins; and which of them a task may say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe import GPT2BPE, GPT2BPEConfig
from torch import Tensor

from narvl.errors import UsageError

BPE_FILES = ("encoder.json", "vocab.bpe", "dict.txt")


class SymbolBPE(GPT2BPE):
    """GPT-2's BPE, with the symbols that are no text (``<bin_7>``, fillers) left as they are.

    fairseq's own class stops at the first symbol that is no number.
    """

    def decode(self, x: str) -> str:
        """Decode a line of BPE ids and symbols, separated by blanks."""
        runs = itertools.groupby(x.split(), key=self._is_text)
        return "".join(super(SymbolBPE, self).decode(" ".join(run)) if text else " ".join(run) for text, run in runs)

    def _is_text(self, token: str) -> bool:
        return token.isdigit() and int(token) in self.bpe.decoder


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
        UsageError: a file is missing or the folder's files do not belong together.
    """

    def __init__(self, bpe_dir: str | Path, code_dict_size: int = 8192, num_bins: int = 1000) -> None:
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
        self.bpe = SymbolBPE(config)
        self.dictionary = Dictionary.load(str(directory / "dict.txt"))
        known = self.bpe.bpe.decoder
        # dict.txt may be padded with fillers that the BPE cannot decode; they must never be said.
        self._sayable = [
            index
            for index in range(self.dictionary.nspecial, len(self.dictionary))
            if self.dictionary[index].isdigit() and int(self.dictionary[index]) in known
        ]
        if not self._sayable:
            raise UsageError(
                f"--bpe-dir {directory}: dict.txt and encoder.json share no token. Give files made together."
            )
        self.dictionary.add_symbol("<mask>")
        for index in range(code_dict_size):
            self.dictionary.add_symbol(f"<code_{index}>")
        self.first_bin: int = len(self.dictionary)
        self.num_bins = num_bins
        for index in range(num_bins):
            self.dictionary.add_symbol(f"<bin_{index}>")

    def encode(self, text: str) -> Tensor:
        """Encode text as token ids (L,), without ``<s>`` or ``</s>``; a leading blank belongs to the first word."""
        line: str = self.bpe.encode(text)
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

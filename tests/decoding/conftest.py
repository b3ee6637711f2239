"""Small models over a dictionary of made-up symbols: decoding is tested without data or task."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqIncrementalDecoder

#: Symbols besides fairseq's four specials; ids 4..35.
SYMBOLS = 32
# Fixed here, apart from the presets: the tests rely on when these random models end their sentences.
SIZE = {
    "embed_dim": 128,
    "ffn_embed_dim": 512,
    "attention_heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "resnet_blocks": [1, 1, 1],
    "resnet_width": 16,
}


@pytest.fixture(scope="session")
def dictionary() -> Dictionary:
    dictionary = Dictionary()
    for index in range(SYMBOLS):
        dictionary.add_symbol(f"s{index}")
    return dictionary


@pytest.fixture(scope="session")
def small_model(dictionary: Dictionary) -> Callable[..., Any]:
    """Build ``ofa`` or ``narvl`` with random weights, large enough to make outputs differ."""

    def make(family: str, seed: int, spread: float = 0.1, **options: Any) -> Any:
        from narvl.models._config import NARVLConfig, OFAConfig
        from narvl.models.narvl import NARVLModel
        from narvl.models.ofa import OFAModel

        config, model_class = (OFAConfig, OFAModel) if family == "ofa" else (NARVLConfig, NARVLModel)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = model_class.build_model(
                config(**{**SIZE, **options}), SimpleNamespace(target_dictionary=dictionary)
            )
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() > 1:
                        parameter.add_(spread * torch.randn_like(parameter))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def net_input() -> dict[str, torch.Tensor]:
    """Four images with prompts of different lengths, padded."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(4, 4 + SYMBOLS, (4, 6), generator=generator)
    for row, length in enumerate((6, 3, 5, 4)):
        tokens[row, length:] = 1
    return {
        "src_tokens": tokens,
        "src_lengths": tokens.ne(1).sum(1),
        "patch_images": torch.rand((4, 3, 48, 48), generator=generator) * 2 - 1,
        "patch_masks": torch.tensor([True, True, False, True]),
    }


class Table(torch.nn.Module):
    """A model whose next-token probabilities stand in a table, behind the interfaces that searches use.

    Args:
        dictionary: the vocabulary.
        probabilities: for each sentence, of each prefix (token ids, without ``<s>``) the probabilities of what may
            follow; the rest of the probability goes to no token.
    """

    answers_only = False

    def __init__(self, dictionary: Dictionary, *probabilities: dict[tuple[int, ...], dict[int, float]]) -> None:
        super().__init__()
        self.encoder = self._Encoder()
        self.decoder = self._Decoder(dictionary, probabilities)

    class _Encoder(torch.nn.Module):
        def forward_torchscript(self, net_input: dict[str, torch.Tensor]) -> torch.Tensor:
            return net_input["src_tokens"]

    class _Decoder(FairseqIncrementalDecoder):
        """Remembers what each row has said, as a decoder with a cache does, and looks its sentence up by row."""

        def __init__(self, dictionary: Dictionary, probabilities: tuple[Any, ...]) -> None:
            super().__init__(dictionary)
            self.probabilities = probabilities
            self.prefixes: list[tuple[tuple[int, ...], ...]] = []

        def begin(self, *args: Any) -> None:
            """Prepare nothing."""

        def forward(
            self,
            tokens: torch.Tensor,
            encoder_out: torch.Tensor,
            incremental_state: dict[str, Any],
            vocabulary: Any = None,
        ) -> tuple[torch.Tensor, dict[str, Any]]:
            rows = incremental_state.get("sentences")
            if rows is None:
                rows = torch.arange(len(encoder_out)).repeat_interleave(len(tokens) // len(encoder_out))
            incremental_state["sentences"] = rows
            assert len(rows) == len(tokens), "the state must follow its rows"
            said = [tuple(row) for row in tokens[:, 1:].tolist()]
            self.prefixes.append(tuple(said))
            logits = torch.full((len(tokens), 1, len(self.dictionary)), -1e9)
            for row, (sentence, prefix) in enumerate(zip(rows.tolist(), said, strict=True)):
                for token, probability in self.probabilities[sentence].get(prefix, {}).items():
                    logits[row, 0, token] = math.log(probability)
            if vocabulary is not None:
                logits = vocabulary.logits(logits, torch.eye(len(self.dictionary)))
            return logits, {"attn": [None]}

        def reorder(self, incremental_state: dict[str, Any], order: torch.Tensor, *args: Any) -> None:
            self.reorder_incremental_state_scripting(incremental_state, order)

        def reorder_incremental_state_scripting(
            self, incremental_state: dict[str, Any], new_order: torch.Tensor
        ) -> None:
            if "sentences" in incremental_state:
                incremental_state["sentences"] = incremental_state["sentences"][new_order]

        def max_positions(self) -> int:
            return 100

    def get_normalized_probs(self, net_output: Any, log_probs: bool, sample: Any) -> torch.Tensor:
        return net_output[0].log_softmax(-1)

    def max_decoder_positions(self) -> int:
        return 100


@pytest.fixture(scope="session")
def table(dictionary: Dictionary) -> Callable[..., Table]:
    """Build a ``Table``, for one sentence or several."""
    return lambda *probabilities: Table(dictionary, *probabilities)


@pytest.fixture(scope="session")
def candidates_of(dictionary: Dictionary) -> Callable[..., Any]:
    """Build candidates from token ids without ``</s>``; a text is its ids."""
    from narvl.decoding.candidates import Candidates

    def make(*sequences: tuple[int, ...]) -> Any:
        vocabulary = SimpleNamespace(
            dictionary=dictionary, encode=lambda text: torch.tensor([int(token) for token in text.split()])
        )
        return Candidates([" ".join(map(str, sequence)) for sequence in sequences], vocabulary)  # type: ignore[arg-type]

    return make

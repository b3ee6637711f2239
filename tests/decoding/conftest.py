"""Small models over a dictionary of made-up symbols: decoding is tested without data or task."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary

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

"""Predictions of layers below the last: asked for, and fed back to the next layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from narvl.errors import UsageError
from narvl.models._precision import set_precision

Build = Callable[..., tuple[Any, Any, Any]]
NANO = ("--dropout", "0.0", "--patch-image-size", "64", "--decoder-layers", "3")
CONDITIONED = ("--self-conditioned-layers", "1,2")


def batch(vocabulary: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, vocabulary, (2, 5), generator=random)
    images = torch.rand((2, 3, 64, 64), generator=random) * 2 - 1
    return {"src_tokens": tokens, "src_lengths": torch.tensor([5, 5]), "patch_images": images}


@pytest.fixture(scope="module")
def plain(scenes: Path, build: Build) -> Any:
    torch.manual_seed(3)
    return build(scenes, "narvl_nano", *NANO)[1].eval()


@pytest.fixture
def conditioned(scenes: Path, build: Build, plain: Any) -> Any:
    """The same weights, and a projection that is not zero any more."""
    model = build(scenes, "narvl_nano", *NANO, *CONDITIONED)[1].eval()
    model.load_state_dict(plain.state_dict())
    torch.manual_seed(5)
    torch.nn.init.normal_(model.decoder.condition.weight, std=0.3)
    torch.nn.init.normal_(model.decoder.condition.bias)
    return model


def by_hand(model: Any, encoder_out: Any, conditioned: bool) -> list[Tensor]:
    """Return every layer's logits, from the layers one by one."""
    decoder = model.decoder
    table = torch.cat([decoder.embed_tokens.weight, decoder.blank_embed.weight])
    queries = decoder.query_embed.weight
    x = decoder.embed(queries.expand(2, -1, -1))
    self_biases, cross_bias = decoder.position_biases(len(queries), encoder_out.positions)
    logits = []
    for layer, bias, cross in zip(decoder.layers, self_biases, decoder.keys_values(encoder_out), strict=True):
        x = layer(x, bias, cross, cross_bias)
        logits.append(decoder.layer_norm(x) @ table.T)
        if conditioned and layer is not decoder.layers[-1]:
            x = x + decoder.condition(logits[-1].softmax(-1) @ table)
    return logits


@torch.no_grad()
def test_intermediate_logits_are_those_of_each_layer(plain: Any) -> None:
    inputs = batch(plain.blank)
    logits, extra = plain(**inputs, intermediate=(2, 1))
    first, second, last = by_hand(plain, plain.encoder(**inputs, patch_masks=None), conditioned=False)
    for ours, theirs in zip((logits, *extra["intermediate"]), (last, second, first), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(plain(**inputs)[0], logits) and plain(**inputs)[1]["intermediate"] == []


@torch.no_grad()
def test_next_layers_read_what_a_layer_predicts(plain: Any, conditioned: Any) -> None:
    inputs = batch(plain.blank)
    logits, extra = conditioned(**inputs, intermediate=(1, 2))
    expected = by_hand(conditioned, conditioned.encoder(**inputs, patch_masks=None), conditioned=True)
    for ours, theirs in zip((*extra["intermediate"], logits), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits, plain(**inputs)[0], atol=0.1)
    assert torch.equal(conditioned(**inputs)[0], logits), "what is asked for changes nothing"


@torch.no_grad()
def test_a_model_trained_without_goes_on_as_it_was(scenes: Path, build: Build, plain: Any) -> None:
    model = build(scenes, "narvl_nano", *NANO, *CONDITIONED)[1].eval()
    model.load_state_dict(plain.state_dict())
    inputs = batch(plain.blank)
    assert torch.equal(model(**inputs)[0], plain(**inputs)[0])


def test_gradients_reach_the_projection_and_the_layers_through_it(conditioned: Any) -> None:
    conditioned.train()
    conditioned(**batch(conditioned.blank))[0].logsumexp(-1).sum().backward()
    assert conditioned.decoder.condition.weight.grad.abs().max() > 0


@torch.no_grad()
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_answers_in_lower_precision(conditioned: Any, precision: str) -> None:
    inputs = batch(conditioned.blank)
    exact = conditioned(**inputs)[0]
    set_precision(conditioned, precision)
    if precision == "bfloat16":
        inputs["patch_images"] = inputs["patch_images"].bfloat16()
    rough = conditioned(**inputs)[0].float()
    assert (rough - exact).abs().mean() < 0.1 * exact.abs().mean()


@pytest.mark.parametrize("layers", ["0", "3", "1,7"])
def test_layers_that_nothing_above_reads(scenes: Path, build: Build, layers: str) -> None:
    wrong = layers.rpartition(",")[2]
    with pytest.raises(
        UsageError, match=f"--self-conditioned-layers {wrong}: .*--decoder-layers 3, give layers from 1 to 2"
    ):
        build(scenes, "narvl_nano", *NANO, "--self-conditioned-layers", layers)

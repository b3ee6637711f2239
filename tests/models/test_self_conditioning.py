"""Predictions of layers below the last: asked for, and fed back to the next layer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from narvl.criterions import query_ctc
from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion
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
def test_a_model_trained_without_goes_on_as_it_was(
    scenes: Path, build: Build, plain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model = build(scenes, "narvl_nano", *NANO, *CONDITIONED)[1].eval()
    model.load_state_dict(plain.state_dict())
    inputs = batch(plain.blank)
    assert torch.equal(model(**inputs)[0], plain(**inputs)[0])
    assert "added: decoder.condition.weight (128, 128), decoder.condition.bias (128,)" in caplog.text


@torch.no_grad()
def test_a_plain_model_starts_from_weights_with(
    scenes: Path, build: Build, conditioned: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model = build(scenes, "narvl_nano", *NANO)[1]
    model.load_state_dict(conditioned.state_dict())
    assert "left out: decoder.condition.weight, decoder.condition.bias" in caplog.text
    kept = conditioned.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("flags", [(), ("--checkpoint-activations",), ("--decoder-input", "encoder")])
def test_gradients_are_those_of_losses_that_leave_the_logits_alone(
    scenes: Path, build: Build, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses write their gradient over logits that the softmax of self-conditioning has read as well."""
    model = build(scenes, "narvl_nano", *NANO, *CONDITIONED, *flags)[1].train()
    torch.nn.init.normal_(model.decoder.condition.weight, std=0.3)
    inputs = batch(model.blank)
    inputs["src_tokens"][0, 3:] = 1
    targets = torch.tensor([[5, 6, 2], [7, 2, 1]])
    sample = {"net_input": inputs, "target": targets, "target_lengths": torch.tensor([3, 2]), "ntokens": 5}
    criterion = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1, intermediate_layers=[1, 2]), None)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        criterion(model, sample)[0].backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    overwriting = gradients()
    keep = query_ctc.pick_log_probs
    monkeypatch.setattr(query_ctc, "pick_log_probs", lambda logits, columns, _: keep(logits, columns, False))
    for name, expected in gradients().items():
        torch.testing.assert_close(overwriting[name], expected, msg=name)
    assert overwriting["decoder.condition.weight"].abs().max() > 0
    assert overwriting["decoder.layers.0.fc1.weight"].abs().max() > 0


@torch.no_grad()
def test_a_prepared_model_says_the_same(scenes: Path, build: Build, conditioned: Any) -> None:
    task, *_ = build(scenes, "narvl_nano", *NANO, *CONDITIONED)
    generator = task.build_generator([conditioned], Namespace(beam=1))
    sample = {"net_input": batch(conditioned.blank), "id": torch.arange(2), "nsentences": 2}
    expected = [row[0]["tokens"].tolist() for row in generator.generate([conditioned], sample)]
    options = Namespace(no_beamable_mm=True, beam=1, print_alignment=None, retain_dropout=False)
    conditioned.prepare_for_inference_(Namespace(generation=options, task=task.cfg))
    assert conditioned.answers_only
    generator = task.build_generator([conditioned], Namespace(beam=1))
    assert [row[0]["tokens"].tolist() for row in generator.generate([conditioned], sample)] == expected
    assert any(len(tokens) > 1 for tokens in expected)


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

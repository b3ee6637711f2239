from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from narvl.errors import UsageError
from narvl.models._precision import PRECISIONS, set_precision
from tests.models.test_fast_paths import make_input, make_model


def prepare(model: Any, precision: str, compiled: str = "none") -> Any:
    """What fairseq-generate does with a model."""
    generation = SimpleNamespace(no_beamable_mm=True, beam=1, print_alignment=None, retain_dropout=False)
    task = SimpleNamespace(inference_precision=precision, inference_compile=compiled)
    model.prepare_for_inference_(SimpleNamespace(generation=generation, task=task))
    return model


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", ["ofa", "narvl"])
def test_answers_stay_close(family: str, precision: str) -> None:
    net_input = make_input(3, 64, 48, [3, 7, 5], None)
    if family == "ofa":
        net_input["prev_output_tokens"] = torch.tensor([[0, 5, 6]]).expand(3, -1)
    full, model = make_model(family), prepare(make_model(family), precision)
    with torch.no_grad():
        expected, ours = full(**net_input)[0], model(**net_input)[0].float()
    tolerance = {"float32": 1e-5, "bfloat16": 0.1, "float16": 0.02, "int8": 0.1}[precision]
    error = float((ours - expected).abs().mean() / expected.abs().mean())
    assert error < tolerance
    assert (error > 1e-4) is (precision != "float32")  # the precision is what it says


def test_int8_holds_for_the_layers_products() -> None:
    model = make_model("narvl")
    set_precision(model, "int8")
    left = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and ".layers." in name}
    assert left == {
        f"decoder.layers.{layer}.encoder_attn.{side}_proj"
        for layer in range(len(model.decoder.layers))
        for side in "kv"
    }
    assert isinstance(model.encoder.image_proj, torch.nn.Linear)


def test_one_precision_at_a_time() -> None:
    with pytest.raises(UsageError, match="--inference-precision bfloat16: the model is in torch.float16 already"):
        prepare(make_model("ofa").half(), "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ofa", "narvl"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_models_answer_alike(family: str, precision: str) -> None:
    """Batches of several shapes, prompts of several lengths: each is compiled when it comes."""
    plain, model = prepare(make_model(family), precision), prepare(make_model(family), precision, "default")
    for batch, lengths in ((2, [5, 5]), (3, [3, 7, 5]), (1, [4])):
        net_input = make_input(batch, 64, 48, lengths, None)
        if family == "ofa":
            net_input["prev_output_tokens"] = torch.tensor([[0, 5, 6]]).expand(batch, -1)
        with torch.no_grad():
            expected, ours = plain(**net_input)[0].float(), model(**net_input)[0].float()
        assert (ours - expected).abs().mean() / expected.abs().mean() < (1e-4 if precision == "float32" else 0.05)


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(UsageError, match="--inference-compile cuda-graphs: needs a GPU"):
        prepare(make_model("ofa"), "float32", "cuda-graphs")
    with pytest.raises(UsageError, match="--inference-compile default: does not take --inference-precision int8"):
        prepare(make_model("ofa"), "int8", "default")

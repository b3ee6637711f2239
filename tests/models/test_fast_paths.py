"""The model, as trained and prepared for inference, computes what its plain twin does, whatever shapes and padding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.models._config import NARVLConfig, OFAConfig
from narvl.models.narvl import NARVLModel
from narvl.models.ofa import OFAModel
from narvl.modules.output_vocabulary import OutputVocabulary
from tests.models import plain

HEADS = 4
SIZE = {
    "embed_dim": 64,
    "ffn_embed_dim": 128,
    "attention_heads": HEADS,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "resnet_blocks": [1, 2, 1],
    "resnet_width": 8,
}
SYMBOLS = 40

Make = Callable[..., Any]


def make_model(family: str, seed: int = 0, **options: Any) -> Any:
    """A small model in evaluation mode all of whose weights, tables and statistics matter."""
    dictionary = Dictionary()
    for index in range(SYMBOLS):
        dictionary.add_symbol(f"s{index}")
    task: Any = SimpleNamespace(target_dictionary=dictionary)
    config: Any = NARVLConfig if family == "narvl" else OFAConfig
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (NARVLModel if family == "narvl" else OFAModel).build_model(config(**{**SIZE, **options}), task)
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def make_input(rows: int, height: int, width: int, lengths: list[int], shown: list[bool] | None) -> dict[str, Any]:
    random = torch.Generator().manual_seed(rows + 7 * height + width)
    tokens = torch.full((rows, max(lengths)), 1)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randint(4, SYMBOLS, (length,), generator=random)
    return {
        "src_tokens": tokens,
        "src_lengths": torch.tensor(lengths),
        "patch_images": torch.rand(rows, 3, height, width, generator=random) * 2 - 1,
        "patch_masks": torch.tensor(shown or [True] * rows),
    }


def twin_encoded(model: Any, net_input: dict[str, Tensor]) -> plain.Encoded:
    state = model.state_dict()
    return plain.encode(state, HEADS, net_input["src_tokens"], net_input["patch_images"], net_input["patch_masks"])


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


inputs = st.integers(1, 4).flatmap(
    lambda rows: st.builds(
        make_input,
        rows=st.just(rows),
        height=st.sampled_from([16, 33, 64]),
        width=st.sampled_from([16, 48, 64]),
        lengths=st.lists(st.integers(1, 9), min_size=rows, max_size=rows),
        shown=st.one_of(st.none(), st.lists(st.booleans(), min_size=rows, max_size=rows)),
    )
)
MODELS = {
    "ofa": {},
    "narvl": {"num_queries": 5},
    "narvl, more queries than a head is wide": {"num_queries": 17},
    "narvl, the encoder's input instead of queries": {"decoder_input": "encoder"},
    "narvl, basic blocks": {"num_queries": 5, "resnet_block": "basic"},
}


@pytest.fixture(scope="module", params=MODELS)
def models(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """The model as it is in validation, and prepared for inference."""
    model = make_model(request.param.split(",")[0], **MODELS[request.param])
    prepared = copy.deepcopy(model)
    prepared.make_generation_fast_()
    return model, prepared


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(net_input=inputs)
def test_the_twin(models: tuple[Any, Any], net_input: dict[str, Tensor]) -> None:
    state = models[0].state_dict()
    encoded = twin_encoded(models[0], net_input)
    said = torch.randint(4, SYMBOLS, (len(encoded.states), 6), generator=torch.Generator().manual_seed(1))
    parallel = isinstance(models[0], NARVLModel)
    if parallel:
        logits = plain.parallel_logits(state, HEADS, encoded)
    else:
        logits = plain.teacher_forced_logits(state, HEADS, encoded, said)
    for model in models:
        for mode in (torch.no_grad, torch.enable_grad):  # position biases are kept, or made layer by layer
            with mode():
                output = model.encoder(**net_input)
                close(output.states, encoded.states)
                close(output.positions, encoded.positions)
                close(model(**net_input)[0] if parallel else model(**net_input, prev_output_tokens=said)[0], logits)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("family", ["ofa", "narvl"])
@settings(max_examples=15, deadline=None)
@given(symbols=st.sets(st.integers(0, SYMBOLS + 3), min_size=1))
def test_fewer_symbols(family: str, constant: bool, symbols: set[int]) -> None:
    model = make_model(family)
    if constant:
        model.make_generation_fast_()
    allowed = torch.zeros(SYMBOLS + 4, dtype=torch.bool)
    allowed[list(symbols)] = True
    net_input = make_input(2, 32, 32, [3, 5], None)
    with torch.no_grad():
        encoded = model.encoder(**net_input)
        said = None if family == "narvl" else torch.tensor([[0, 5, 6], [0, 7, 8]])
        every = model.decoder(said, encoded)[0]
        vocabulary = OutputVocabulary(allowed, constant=constant)
        ours = model.decoder(said, encoded, vocabulary=vocabulary)[0]
    columns = vocabulary.symbols.tolist()
    assert symbols <= set(columns) and [vocabulary.column(symbol) for symbol in columns] == list(range(len(columns)))
    expected = every[..., : SYMBOLS + 4].masked_fill(~allowed, float("-inf"))[..., columns]
    if family == "narvl":
        expected = torch.cat([expected, every[..., -1:]], dim=-1)
    close(ours, expected)


class TestKeptPositions:
    """What is kept between batches never outlives the weights it was made of."""

    def states(self, model: Any) -> Tensor:
        with torch.no_grad():
            return model(**make_input(2, 32, 48, [3, 5], None))[0]

    def test_are_computed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = make_model("narvl")
        first = self.states(model)
        monkeypatch.setattr(type(model.encoder), "_layer_bias", None)
        monkeypatch.setattr(type(model.decoder), "_position_biases", None)
        assert torch.equal(self.states(model), first)

    @pytest.mark.parametrize(
        "name",
        [
            "encoder.image_rel_pos_table_list.1.weight",
            "encoder.embed_positions.weight",
            "encoder.pos_q_linear.bias",
            "decoder.cross_pos_k_linear.weight",
            "decoder.token_rel_pos_table_list.0.weight",
        ],
    )
    @pytest.mark.parametrize("how", ["in place", "loaded", "behind torch's back, in training"])
    def test_follow_the_weights(self, name: str, how: str) -> None:
        model, fresh = make_model("narvl"), make_model("narvl")
        self.states(model)
        changed = {key: value.clone() for key, value in model.state_dict().items()}
        changed[name] += torch.randn_like(changed[name])
        weight = dict(model.named_parameters())[name]
        if how == "in place":
            with torch.no_grad():
                weight.copy_(changed[name])
        elif how == "loaded":
            model.load_state_dict(changed)
        else:
            model.train()
            weight.data.copy_(changed[name])
            model.eval()
        fresh.load_state_dict(changed)
        assert torch.equal(self.states(model), self.states(fresh))

    def test_take_the_model_s_precision(self) -> None:
        model = make_model("narvl")
        self.states(model)
        assert self.states(model.double()).dtype == torch.float64

    def test_longer_prompts_are_room_for_shorter_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = make_model("narvl", max_source_positions=40)
        state = model.state_dict()
        computed = []
        layer_bias = type(model.encoder)._layer_bias
        monkeypatch.setattr(
            type(model.encoder), "_layer_bias", lambda *given: computed.append(length) or layer_bias(*given)
        )
        for length in (3, 33, 40, 3, 33):
            net_input = make_input(1, 32, 32, [length], None)
            with torch.no_grad():
                close(model(**net_input)[0], plain.parallel_logits(state, HEADS, twin_encoded(model, net_input)))
        layers = len(model.encoder.layers)
        assert computed == [3] * layers + [33] * layers  # there is room for 40, the most, by then


def test_dropout_of_attention_keeps_its_mean() -> None:
    """Attention over unprojected states drops weights as attention over projected ones does."""
    model = make_model("narvl", num_queries=2, attention_dropout=0.5).double()
    attention = model.decoder.layers[0].encoder_attn
    x, states = torch.randn(2, 2, 64, dtype=torch.float64), torch.randn(2, 9, 64, dtype=torch.float64)
    bias = torch.randn(1, HEADS, 2, 9, dtype=torch.float64)
    still = attention.over_states(x, states, bias)
    attention.train()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        tries = [attention.over_states(x, states, bias) for _ in range(4000)]
        others = [attention(attention.queries(x), *attention.keys_values(states), bias) for _ in range(4000)]
    ours, theirs = torch.stack(tries), torch.stack(others)
    torch.testing.assert_close(ours.mean(0), still, atol=0.1, rtol=0.0)
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.05, rtol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_folds_in_float32(dtype: torch.dtype) -> None:
    model = make_model("narvl").to(dtype)
    full = copy.deepcopy(model).float()
    model.make_generation_fast_()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model.encoder.embed_images(images.to(dtype)), full.encoder.embed_images(images)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.float(), theirs, atol=0.02 * float(theirs.abs().max()), rtol=0.0)


def test_a_prepared_model_refuses_training() -> None:
    model = make_model("narvl")
    model.make_generation_fast_()
    assert model.answers_only
    with pytest.raises(RuntimeError, match="cannot train"):
        model.train()


class TestCheckpointedActivations:
    """``--checkpoint-activations`` changes what is kept, not what comes out."""

    def train_once(self, family: str, checkpoint: bool) -> tuple[dict[str, Tensor], int]:
        """Gradients, and the bytes that the forward pass keeps of activations."""
        model = make_model(family, checkpoint_activations=checkpoint, dropout=0.2, encoder_drop_path_rate=0.3)
        model.train()
        net_input = make_input(3, 64, 64, [4, 9, 6], None)
        if family == "ofa":
            net_input["prev_output_tokens"] = torch.tensor([[0, 5, 6, 7]]).expand(3, -1)
        kept: dict[int, int] = {}

        def keep(value: Tensor) -> Tensor:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.random.fork_rng():
            torch.manual_seed(0)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
                logits = model(**net_input)[0]
            logits.square().mean().backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}, sum(
            kept.values()
        )

    @pytest.mark.parametrize("family", ["ofa", "narvl"])
    def test_same_gradients_in_less_memory(self, family: str) -> None:
        expected, usual = self.train_once(family, False)
        ours, less = self.train_once(family, True)
        assert ours.keys() == expected.keys()
        for name, gradient in ours.items():
            torch.testing.assert_close(gradient, expected[name], msg=lambda text, name=name: f"{name}: {text}")
        assert less < 0.8 * usual

"""Our beam search against fairseq's, over the same models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.decoding.ar_search import ARSearch
from narvl.decoding.beam import BeamGenerator
from narvl.errors import DataError, UsageError

SmallModel = Callable[..., Any]
Rows = list[list[dict[str, Any]]]

#: Like a text task's symbols: nearly all, and </s>.
TEXT = [2, *range(5, 34)]
#: Like a box's: a run at the end, and </s>.
BINS = [2, *range(27, 36)]
#: Apart from each other, and fewer than a beam asks for.
FEW = [2, 9, 30]


@pytest.fixture(scope="module")
def models(small_model: SmallModel) -> Callable[..., Any]:
    """Models by their seed and by how willingly they end a sentence."""
    made: dict[tuple[int, float], Any] = {}

    def make(seed: int, ending: float) -> Any:
        if (seed, ending) not in made:
            model = small_model("ofa", seed, spread=0.25)
            with torch.no_grad():
                model.encoder.embed_tokens.weight[2].mul_(ending)
            made[seed, ending] = model
        return made[seed, ending]

    return make


def mask(dictionary: Dictionary, symbols: list[int] | None) -> Tensor | None:
    if symbols is None:
        return None
    return torch.zeros(len(dictionary), dtype=torch.bool).index_fill(0, torch.tensor(symbols), True)


def take(net_input: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """Some rows, padded as far as they need."""
    taken = {name: tensor[rows] for name, tensor in net_input.items()}
    taken["src_tokens"] = taken["src_tokens"][:, : int(taken["src_lengths"].max())]
    return taken


def both(used: list[Any], dictionary: Dictionary, net_input: dict[str, Tensor], **options: Any) -> tuple[Rows, Rows]:
    ours, theirs = (
        kind(used, dictionary, **options).generate(used, {"net_input": dict(net_input)})
        for kind in (ARSearch, BeamGenerator)
    )
    return ours, theirs


def equal(ours: Rows, theirs: Rows) -> None:
    for row, expected in zip(ours, theirs, strict=True):
        assert [hypothesis["tokens"].tolist() for hypothesis in row] == [h["tokens"].tolist() for h in expected]
        for hypothesis, other in zip(row, expected, strict=True):
            assert hypothesis.keys() == other.keys()
            torch.testing.assert_close(hypothesis["positional_scores"], other["positional_scores"], atol=1e-4, rtol=0)
            assert float(hypothesis["score"]) == pytest.approx(float(other["score"]), abs=1e-4)


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    shortest = draw(st.integers(0, 4))
    return {
        "beam_size": draw(st.integers(1, 8)),
        "min_len": shortest,
        "max_len_a": draw(st.sampled_from([0, 0.5])),
        "max_len_b": draw(st.integers(max(shortest, 1), 12)),
        "normalize_scores": draw(st.booleans()),
        "len_penalty": draw(st.sampled_from([1.0, 0.4, 2.0])),
        "unk_penalty": draw(st.sampled_from([0.0, 1.5])),
        "temperature": draw(st.sampled_from([1.0, 0.6, 2.5])),
        "no_repeat_ngram_size": draw(st.sampled_from([0, 0, 1, 2, 3])),
    }


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seeds=st.one_of(st.integers(0, 11).map(lambda seed: [seed]), st.just([3, 8])),
    ending=st.sampled_from([0.8, 1.0, 1.2]),
    symbols=st.sampled_from([None, TEXT, BINS, FEW]),
    rows=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
    options=searches(),
)
def test_equals_fairseq_s(
    models: Callable[..., Any],
    dictionary: Dictionary,
    net_input: dict[str, Tensor],
    seeds: list[int],
    ending: float,
    symbols: list[int] | None,
    rows: list[int],
    options: dict[str, Any],
) -> None:
    """Token for token and score for score, in the same order: one model or two, any options, padded prompts."""
    if symbols is FEW:  # so few make fairseq's search stop with an error once they have all been said
        options["no_repeat_ngram_size"] = 0
    used = [models(seed, ending) for seed in seeds]
    ours, theirs = both(used, dictionary, take(net_input, rows), allowed=mask(dictionary, symbols), **options)
    equal(ours, theirs)


@pytest.mark.parametrize("beam", [1, 4])
def test_sentences_leave_the_batch_one_by_one(
    models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor], beam: int
) -> None:
    """Those that stay keep their image, padding and past; 45 positions outgrow what fairseq's search prepares."""
    for seed in (4, 8, 9, 11):
        ours, theirs = both([models(seed, 1.2)], dictionary, net_input, beam_size=beam, max_len_b=45)
        equal(ours, theirs)
        lengths = {max(len(hypothesis["tokens"]) for hypothesis in row) for row in ours}
        assert len(lengths) > 2, "choose models that end sentences at different steps"


@pytest.mark.parametrize(("beam", "longest", "projected"), [(1, 14, False), (1, 15, True), (4, 2, False), (4, 3, True)])
def test_encoder_is_projected_where_enough_positions_attend_to_it(
    models: Callable[..., Any],
    dictionary: Dictionary,
    net_input: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    beam: int,
    longest: int,
    projected: bool,
) -> None:
    """For 32 positions in one pass (width 128, 4 heads), half of them step by step; and no sentence twice."""
    model = models(3, 0.8)
    attention = model.decoder.layers[0].encoder_attn
    keys_values = attention.keys_values
    seen: list[int] = []
    monkeypatch.setattr(attention, "keys_values", lambda x: seen.append(len(x)) or keys_values(x))
    search = ARSearch([model], dictionary, beam_size=beam, max_len_b=longest)
    search.generate([model], {"net_input": dict(net_input)})
    assert seen == ([4] if projected else [])


def test_one_step_asks_each_hypothesis_once_and_only_for_what_may_be_said(
    models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models(3, 0.8)
    shapes: list[tuple[int, ...]] = []
    forward = model.decoder.forward

    def watched(*args: Any, **options: Any) -> Any:
        logits, extra = forward(*args, **options)
        shapes.append(tuple(logits.shape))
        return logits, extra

    monkeypatch.setattr(model.decoder, "forward", watched)
    allowed = mask(dictionary, FEW)
    search = ARSearch([model], dictionary, allowed, beam_size=3, max_len_b=4, min_len=4)
    search.generate([model], {"net_input": dict(net_input)})
    assert shapes == [(4, 1, 3)] + [(12, 1, 3)] * 4


def test_positional_scores_can_be_changed_in_place(
    models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor]
) -> None:
    """As fairseq-generate does, to write logarithms to the base 2."""
    rows = ARSearch([models(3, 0.8)], dictionary, beam_size=3, max_len_b=9).generate([], {"net_input": net_input})
    for row in rows:
        for hypothesis in row:
            total = float(hypothesis["positional_scores"].sum())
            assert hypothesis["score"] == pytest.approx(total / len(hypothesis["tokens"]), abs=1e-5)
            hypothesis["positional_scores"].div_(2)
            assert float(hypothesis["positional_scores"].sum()) == pytest.approx(total / 2, abs=1e-5)


def test_no_token_twice(models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor]) -> None:
    """An n-gram of one token, which fairseq's own blocking lets pass."""
    search = ARSearch([models(3, 0.8)], dictionary, no_repeat_ngram_size=1, beam_size=3, max_len_b=12, min_len=12)
    for row in search.generate([], {"net_input": net_input}):
        for hypothesis in row:
            assert len(set(hypothesis["tokens"].tolist())) == 13


@pytest.mark.parametrize("beam", [1, 3])
def test_outputs_that_are_no_numbers_name_their_rows(
    models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor], beam: int
) -> None:
    images = net_input["patch_images"].clone()
    images[1, 0, 1, 1] = math.nan
    sample = {"net_input": {**net_input, "patch_images": images}, "id": torch.tensor([7, 3, 5, 9]), "split": "test"}
    with pytest.raises(DataError, match=r"test, rows 4: the model's outputs are no numbers \(NaN\)"):
        ARSearch([models(3, 0.8)], dictionary, beam_size=beam).generate([], sample)


class TestRefusals:
    @pytest.mark.parametrize("options", [{"beam_size": 0}, {"temperature": 0.0}])
    def test_values_out_of_range(
        self, models: Callable[..., Any], dictionary: Dictionary, options: dict[str, Any]
    ) -> None:
        with pytest.raises(UsageError, match=next(iter(options)).split("_")[0]):
            ARSearch([models(3, 0.8)], dictionary, **options)

    def test_lengths_that_cannot_be(
        self, models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor]
    ) -> None:
        search = ARSearch([models(3, 0.8)], dictionary, min_len=9, max_len_b=8)
        with pytest.raises(UsageError, match="--min-len 9: outputs have at most 8 tokens"):
            search.generate([], {"net_input": net_input})

    @pytest.mark.parametrize("option", ["prefix_tokens", "constraints"])
    def test_what_fairseq_s_search_is_for(
        self, models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor], option: str
    ) -> None:
        search = ARSearch([models(3, 0.8)], dictionary)
        with pytest.raises(UsageError, match="--ar-search"):
            search.generate([], {"net_input": net_input}, **{option: torch.zeros(4, 1, dtype=torch.long)})

    def test_when_nothing_can_be_said(
        self, models: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor]
    ) -> None:
        allowed = mask(dictionary, FEW)
        search = ARSearch([models(3, 0.8)], dictionary, allowed, no_repeat_ngram_size=1, min_len=3, max_len_b=5)
        with pytest.raises(UsageError, match="--no-repeat-ngram-size"):
            search.generate([], {"net_input": net_input})

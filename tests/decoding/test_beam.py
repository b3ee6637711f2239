from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from narvl.decoding.beam import BeamGenerator, NGramBlock
from narvl.errors import DataError

SmallModel = Callable[..., Any]
#: Longer than the positions whose biases the decoder computes at first (32).
LONG = 45


@pytest.fixture(scope="module")
def model(small_model: SmallModel) -> Any:
    """A model that ends some hypotheses early."""
    model = small_model("ofa", 3)
    with torch.no_grad():
        model.encoder.embed_tokens.weight[2].mul_(0.8)
    return model


def generate(
    generator: Any, models: list[Any], net_input: dict[str, Tensor], **options: Any
) -> list[list[dict[str, Any]]]:
    return generator.generate(models, {"net_input": dict(net_input)}, **options)


def equal(ours: list[list[dict[str, Any]]], theirs: list[list[dict[str, Any]]]) -> None:
    for row, expected in zip(ours, theirs, strict=True):
        assert [hypothesis["tokens"].tolist() for hypothesis in row] == [h["tokens"].tolist() for h in expected]
        for hypothesis, other in zip(row, expected, strict=True):
            torch.testing.assert_close(hypothesis["positional_scores"], other["positional_scores"], atol=1e-4, rtol=0)
            assert float(hypothesis["score"]) == pytest.approx(float(other["score"]), abs=1e-4)


@torch.no_grad()
def test_step_by_step_equals_teacher_forcing(model: Any, net_input: dict[str, Tensor]) -> None:
    """Cached keys, values and biases change nothing; 70 positions outgrow the first 32 twice."""
    tokens = torch.randint(4, 36, (4, 70), generator=torch.Generator().manual_seed(2))
    tokens[:, 0] = 0
    whole, _ = model(**net_input, prev_output_tokens=tokens)
    encoder_out = model.encoder(**net_input)
    state: dict[str, Any] = {}
    for length in range(1, 71):
        step, _ = model.decoder(tokens[:, :length], encoder_out, incremental_state=state)
        assert step.shape == (4, 1, 36)
        torch.testing.assert_close(step[:, 0], whole[:, length - 1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_sentence_s_hypotheses_may_grow_in_number_and_go_two_ways(model: Any, net_input: dict[str, Tensor]) -> None:
    """Four sentences of one hypothesis each, then of three, then the last two of two; none copies the image's keys."""
    encoder_out = model.encoder(**net_input)
    random = torch.Generator().manual_seed(7)

    def said(*shape: int) -> Tensor:
        return torch.randint(4, 36, shape, generator=random)

    def check(tokens: Tensor, sentences: list[int], state: dict[str, Any]) -> None:
        step, _ = model.decoder(tokens, encoder_out, incremental_state=state)
        rows = {name: tensor[sentences] for name, tensor in net_input.items()}
        whole, _ = model(**rows, prev_output_tokens=tokens)
        torch.testing.assert_close(step[:, 0], whole[:, -1], atol=1e-4, rtol=1e-4)
        [cache] = state.values()
        assert all(len(keys) == len(values) == len(set(sentences)) for keys, values in cache.cross)

    state: dict[str, Any] = {}
    first = torch.zeros(4, 1, dtype=torch.long)
    check(first, [0, 1, 2, 3], state)
    kept = dict(state)
    order = torch.arange(4).repeat_interleave(3)
    for branch in (state, kept):
        model.decoder.reorder_incremental_state_scripting(branch, order)
        second = torch.cat([first[order], said(12, 1)], dim=1)
        check(second, order.tolist(), branch)
    fewer = torch.tensor([7, 6, 9, 9])
    model.decoder.reorder_incremental_state_scripting(kept, fewer)
    check(torch.cat([second[fewer], said(4, 1)], dim=1), [2, 2, 3, 3], kept)


@torch.no_grad()
@pytest.mark.parametrize("positions", [None, 9, 40])
def test_shallow_copies_of_the_state_do_not_interfere(
    model: Any, net_input: dict[str, Tensor], positions: int | None
) -> None:
    """Neither before nor after a reordering, whoever goes on first; with the encoder's states projected or not."""
    encoder_out = model.encoder(**net_input)
    random = torch.Generator().manual_seed(11)
    state: dict[str, Any] = {}
    if positions is not None:
        model.decoder.begin(encoder_out, state, positions, hypotheses=1)
    branches = [(torch.zeros(4, 1, dtype=torch.long), torch.arange(4), state)]
    for length in range(1, 8):
        for tokens, rows, branch in branches:
            step, _ = model.decoder(tokens, encoder_out, incremental_state=branch)
            whole, _ = model(**{name: tensor[rows] for name, tensor in net_input.items()}, prev_output_tokens=tokens)
            torch.testing.assert_close(step[:, 0], whole[:, -1], atol=1e-4, rtol=1e-4)
        if length in (1, 3, 4):
            branches += [(tokens, rows, dict(branch)) for tokens, rows, branch in branches]
        if length == 4:
            kept = torch.tensor([1, 1, 3, 3])
            for number, (tokens, rows, branch) in enumerate(branches[::2]):
                if number:
                    model.decoder.reorder_incremental_state_scripting(branch, kept)
                else:
                    model.decoder.reorder(branch, kept, sentences=torch.tensor([1, 3]))
                branches[2 * number] = (tokens[kept], rows[kept], branch)
        branches = [
            (torch.cat([tokens, torch.randint(4, 36, (len(tokens), 1), generator=random)], dim=1), rows, branch)
            for tokens, rows, branch in branches
        ]


@torch.no_grad()
def test_no_position_sees_a_later_one_or_padding(model: Any, net_input: dict[str, Tensor]) -> None:
    tokens = torch.randint(4, 36, (4, 9), generator=torch.Generator().manual_seed(2))
    whole, _ = model(**net_input, prev_output_tokens=tokens)
    changed = tokens.clone()
    changed[:, 6:] = 1
    cut, _ = model(**net_input, prev_output_tokens=changed)
    torch.testing.assert_close(cut[:, :6], whole[:, :6], atol=1e-5, rtol=1e-5)
    longer = {**net_input, "src_tokens": torch.nn.functional.pad(net_input["src_tokens"], (0, 3), value=1)}
    padded, _ = model(**longer, prev_output_tokens=tokens)
    torch.testing.assert_close(padded, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("beam", "options"),
    [
        (1, {}),
        (2, {}),
        (3, {"len_penalty": 0.5}),
        (4, {"normalize_scores": False}),
        (3, {"temperature": 2.0, "min_len": 4}),
    ],
)
def test_equals_fairseq_s_own_with_everything_repeated(
    model: Any, dictionary: Dictionary, net_input: dict[str, Tensor], beam: int, options: dict[str, Any]
) -> None:
    """Sentences whose hypotheses share the image, against one copy of it a hypothesis; they end at different steps."""
    settings = {"beam_size": beam, "max_len_b": LONG, **options}
    ours = generate(BeamGenerator([model], dictionary, **settings), [model], net_input)
    plain = SequenceGenerator([model], dictionary, **settings)
    theirs = generate(plain, [model], net_input, bos_token=dictionary.bos())
    equal(ours, theirs)
    lengths = {max(len(hypothesis["tokens"]) for hypothesis in row) for row in ours}
    assert beam == 1 or len(lengths) > 1, "sentences must leave the batch at different steps for this to show anything"


def test_sentences_leave_a_padded_batch_before_the_biases_grow(
    small_model: SmallModel, dictionary: Dictionary, net_input: dict[str, Tensor]
) -> None:
    """What is masked for the positions beyond 32 is the padding of the sentences that are left."""
    settings = {"beam_size": 2, "max_len_b": LONG}
    shown = 0
    for seed in (0, 4, 8, 21):
        model = small_model("ofa", seed, spread=0.25)
        ours = generate(BeamGenerator([model], dictionary, **settings), [model], net_input)
        plain = SequenceGenerator([model], dictionary, **settings)
        equal(ours, generate(plain, [model], net_input, bos_token=dictionary.bos()))
        lengths = [max(len(hypothesis["tokens"]) for hypothesis in row) for row in ours]
        shown += min(lengths) <= 32 < max(lengths)
    assert shown, "choose seeds of models that end some sentences early"


def test_a_row_s_output_depends_on_no_other_row(
    model: Any, dictionary: Dictionary, net_input: dict[str, Tensor]
) -> None:
    generator = BeamGenerator([model], dictionary, beam_size=3, max_len_b=LONG)
    together = generate(generator, [model], net_input)
    for row, length in enumerate(net_input["src_lengths"].tolist()):
        alone = {name: tensor[row : row + 1] for name, tensor in net_input.items()}
        alone["src_tokens"] = alone["src_tokens"][:, :length]
        equal(generate(generator, [model], alone), together[row : row + 1])


def test_score_is_the_mean_log_probability(model: Any, dictionary: Dictionary, net_input: dict[str, Tensor]) -> None:
    """By teacher forcing: the sum over the tokens and </s>, over their number to the power of the length penalty."""
    generator = BeamGenerator([model], dictionary, beam_size=3, max_len_b=12, len_penalty=0.7)
    best = generate(generator, [model], net_input)[3][0]
    row = {name: tensor[3:] for name, tensor in net_input.items()}
    previous = torch.cat([torch.tensor([dictionary.bos()]), best["tokens"][:-1]])
    with torch.no_grad():
        log_probs = model(**row, prev_output_tokens=previous.unsqueeze(0))[0][0].log_softmax(-1)
    total = float(log_probs.gather(1, best["tokens"].unsqueeze(1)).sum())
    assert float(best["score"]) == pytest.approx(total / len(best["tokens"]) ** 0.7, abs=1e-4)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("beam", [1, 3])
def test_outputs_that_are_no_numbers_name_their_rows(
    model: Any, dictionary: Dictionary, net_input: dict[str, Tensor], beam: int, number: int
) -> None:
    images = net_input["patch_images"].clone()
    images[1, 0, 1, 1] = math.nan
    sample = {"net_input": {**net_input, "patch_images": images}, "id": torch.tensor([7, 3, 5, 9]), "split": "test"}
    with pytest.raises(DataError, match=r"test, rows 4: the model's outputs are no numbers \(NaN\)"):
        BeamGenerator([model] * number, dictionary, beam_size=beam).generate([], sample)


@pytest.mark.parametrize("beam", [1, 2])
def test_rows_are_named_after_others_have_ended(
    table: Callable[..., Any], dictionary: Dictionary, net_input: dict[str, Tensor], beam: int
) -> None:
    """The first sentence ends and leaves the batch; then the third has no number."""
    either = {5: 0.6, 6: 0.4}
    short = {(): either, (5,): {2: 1.0}, (6,): {2: 1.0}}
    long = {said: either for said in ((), (5,), (6,), (5, 5), (5, 6), (6, 5), (6, 6))}
    broken = {said: either if len(said) < 2 else {5: math.nan} for said in long}
    model = table(short, long, broken)
    sample = {"net_input": {name: tensor[:3] for name, tensor in net_input.items()}, "id": torch.tensor([7, 3, 5])}
    with pytest.raises(DataError, match=r"input, rows 6: the model's outputs are no numbers \(NaN\)"):
        BeamGenerator([model], dictionary, beam_size=beam, max_len_b=9).generate([], sample)
    assert len(model.decoder.prefixes[-1]) == 2 * beam, "the first sentence must have ended"


class TestAllowed:
    @pytest.fixture()
    def allowed(self, dictionary: Dictionary) -> Tensor:
        allowed = torch.zeros(len(dictionary), dtype=torch.bool)
        allowed[[2, 5, 9, 20, 21, 22, 23]] = True
        return allowed

    def test_nothing_else_is_said(
        self, model: Any, dictionary: Dictionary, net_input: dict[str, Tensor], allowed: Tensor
    ) -> None:
        generator = BeamGenerator([model], dictionary, allowed, beam_size=3, max_len_b=15)
        for row in generate(generator, [model], net_input):
            assert len(row) == 3
            assert all(allowed[hypothesis["tokens"]].all() for hypothesis in row)

    def test_probabilities_are_normalised_over_what_is_allowed(
        self, model: Any, dictionary: Dictionary, net_input: dict[str, Tensor], allowed: Tensor
    ) -> None:
        from narvl.decoding.ensemble import SentenceEnsemble

        ensemble = SentenceEnsemble([model], allowed)
        encoder_outs = ensemble.forward_encoder(net_input)
        begin = torch.zeros(4, 1, dtype=torch.long)
        with torch.no_grad():
            log_probs, _ = ensemble.forward_decoder(begin, encoder_outs, [{}])
            logits, _ = model(**net_input, prev_output_tokens=begin)
        expected = logits[:, 0].masked_fill(~allowed, float("-inf")).softmax(-1)
        torch.testing.assert_close(log_probs.exp(), expected)


def test_models_are_averaged(small_model: SmallModel, dictionary: Dictionary, net_input: dict[str, Tensor]) -> None:
    models = [small_model("ofa", 1), small_model("ofa", 2)]
    settings = {"beam_size": 2, "max_len_b": 10}
    ours = generate(BeamGenerator(models, dictionary, **settings), models, net_input)
    plain = SequenceGenerator(models, dictionary, **settings)
    equal(ours, generate(plain, models, net_input, bos_token=dictionary.bos()))
    alone = generate(BeamGenerator(models[:1], dictionary, **settings), models[:1], net_input)
    assert float(alone[0][0]["score"]) != pytest.approx(float(ours[0][0]["score"]), abs=1e-3)


class TestNGramBlocking:
    @staticmethod
    def repeats(tokens: list[int], size: int) -> int:
        grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
        return len(grams) - len(set(grams))

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_no_ngram_is_said_twice(
        self, model: Any, dictionary: Dictionary, net_input: dict[str, Tensor], size: int
    ) -> None:
        settings = {"beam_size": 3, "max_len_b": 25, "min_len": 25}
        free = generate(BeamGenerator([model], dictionary, **settings), [model], net_input)
        assert any(self.repeats(h["tokens"].tolist(), size) for row in free for h in row), "nothing to block"
        blocking = BeamGenerator([model], dictionary, no_repeat_ngram_size=size, **settings)
        for row in generate(blocking, [model], net_input):
            for hypothesis in row:
                assert self.repeats(hypothesis["tokens"].tolist(), size) == 0

    def test_worked_example(self) -> None:
        """After "a b c a b" a trigram blocks c; what lies beyond the step is padding."""
        tokens = torch.tensor([[0, 7, 8, 9, 7, 8, 1, 1, 1], [0, 7, 8, 9, 8, 7, 1, 1, 1]])
        log_probs = torch.zeros(2, 12)
        blocked = NGramBlock(3)(tokens, log_probs, bsz=1, beam_size=2, step=5)
        assert blocked[0].isinf().nonzero().flatten().tolist() == [9]
        assert not blocked[1].isinf().any()

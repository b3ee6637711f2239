from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from torch import Tensor

from narvl.decoding.parallel import ParallelGenerator, average
from narvl.errors import DataError, UsageError
from narvl.modules.output_vocabulary import OutputVocabulary

SmallModel = Callable[..., Any]


class Says:
    """A model that gives fixed logits (B, N, V + 1), of the symbols that it is asked for."""

    def __init__(self, logits: Tensor, blank: int, alignment: str = "ctc", padding: Tensor | None = None) -> None:
        self.logits, self.blank, self.alignment, self.padding = logits, blank, alignment, padding

    def __call__(self, vocabulary: OutputVocabulary | None = None) -> tuple[Tensor, dict[str, Any]]:
        if vocabulary is None:
            return self.logits.clone(), {"padding": self.padding}
        table, blank = self.logits.flatten(0, 1).T.split([self.logits.size(-1) - 1, 1])
        unit = torch.eye(table.size(1)).view(*self.logits.shape[:2], -1)  # features that pick their own logits
        return vocabulary.logits(unit, table, blank), {"padding": self.padding}


def decode(generator: ParallelGenerator, *models: Any) -> list[dict[str, Any]]:
    rows = generator.generate(models, {"net_input": {}})
    assert all(len(row) == 1 for row in rows)
    return [row[0] for row in rows]


def tokens(generator: ParallelGenerator, *models: Any) -> list[list[int]]:
    return [hypothesis["tokens"].tolist() for hypothesis in decode(generator, *models)]


@pytest.fixture()
def generator(dictionary: Dictionary) -> ParallelGenerator:
    return ParallelGenerator(dictionary)


def logits_of(*rows: list[int], symbols: int) -> Tensor:
    classes = torch.tensor(rows)
    return torch.zeros(*classes.shape, symbols + 1).scatter(2, classes.unsqueeze(2), 5.0)


def test_the_blank_is_never_said(
    dictionary: Dictionary, generator: ParallelGenerator, small_model: SmallModel, net_input: dict[str, Tensor]
) -> None:
    model = small_model("narvl", 1)
    with torch.no_grad():
        model.decoder.blank_embed.weight.mul_(3)
        classes = model(**net_input)[0].argmax(-1)
    assert classes.eq(model.blank).any() and classes.ne(model.blank).any()
    for row in generator.generate([model], {"net_input": net_input}):
        assert int(row[0]["tokens"].max()) < len(dictionary)
        assert row[0]["tokens"].tolist().index(dictionary.eos()) == len(row[0]["tokens"]) - 1


def test_hypothesis(dictionary: Dictionary, generator: ParallelGenerator) -> None:
    logits = logits_of([7, 7, 36, 9, 2, 8], symbols=len(dictionary))
    [hypothesis] = decode(generator, Says(logits, len(dictionary)))
    said = logits.log_softmax(-1)[0]
    assert hypothesis["tokens"].tolist() == [7, 9, 2]
    assert hypothesis["positional_scores"].tolist() == pytest.approx([float(said[0, 7]), float(said[3, 9])])
    assert hypothesis["score"] == pytest.approx(float(said[0, 7] + said[3, 9]) / 2)


def test_nothing_said_is_an_empty_text(dictionary: Dictionary, generator: ParallelGenerator) -> None:
    [hypothesis] = decode(generator, Says(logits_of([36, 36], symbols=len(dictionary)), len(dictionary)))
    assert (hypothesis["tokens"].tolist(), hypothesis["score"]) == ([dictionary.eos()], 0.0)


def test_alignment_says_whether_to_merge(dictionary: Dictionary, generator: ParallelGenerator) -> None:
    logits = logits_of([7, 7, 36, 9, 2], symbols=len(dictionary))
    assert tokens(generator, Says(logits, 36, "ctc")) == [[7, 9, 2]]
    assert tokens(generator, Says(logits, 36, "position")) == [[7, 7, 9, 2]]


def test_what_the_task_may_not_say_never_wins(dictionary: Dictionary) -> None:
    """However large its logit; the probabilities of what remains are normalised anew, the blank among them."""
    allowed = torch.zeros(len(dictionary), dtype=torch.bool)
    allowed[[2, 7, 9]] = True
    logits = logits_of([7, 36, 9, 2], symbols=len(dictionary))
    logits[:, :, 11] = 1000.0
    logits[:, :, 1] = float("inf")
    generator = ParallelGenerator(dictionary, OutputVocabulary(allowed))
    [hypothesis] = decode(generator, Says(logits, 36))
    assert hypothesis["tokens"].tolist() == [7, 9, 2]
    expected = torch.tensor([5.0, 0.0, 0.0, 0.0]).log_softmax(0)[0]
    assert hypothesis["positional_scores"].tolist() == pytest.approx([float(expected)] * 2)


def test_positions_without_output_say_nothing(dictionary: Dictionary, generator: ParallelGenerator) -> None:
    logits = logits_of([7, 9, 8, 8], symbols=len(dictionary))
    padding = torch.tensor([[False, False, True, True]])
    assert tokens(generator, Says(logits, 36, padding=padding)) == [[7, 9, 2]]


def test_a_row_s_output_depends_on_no_other_row(
    generator: ParallelGenerator, small_model: SmallModel, net_input: dict[str, Tensor]
) -> None:
    model = small_model("narvl", 2)
    together = generator.generate([model], {"net_input": net_input})
    lengths = net_input["src_lengths"].tolist()
    for row, length in enumerate(lengths):
        alone = {name: tensor[row : row + 1] for name, tensor in net_input.items()}
        alone["src_tokens"] = alone["src_tokens"][:, :length]
        [[hypothesis]] = generator.generate([model], {"net_input": alone})
        assert hypothesis["tokens"].tolist() == together[row][0]["tokens"].tolist()
        assert hypothesis["score"] == pytest.approx(together[row][0]["score"], abs=1e-5)
    assert len({tuple(row[0]["tokens"].tolist()) for row in together}) > 1


def test_models_are_averaged_by_probability(dictionary: Dictionary, generator: ParallelGenerator) -> None:
    first, second = (torch.full((1, 1, len(dictionary) + 1), -9.0) for _ in range(2))
    first[0, 0, [7, 9]] = torch.tensor([0.55, 0.45]).log()
    second[0, 0, [8, 9]] = torch.tensor([0.55, 0.45]).log()
    models = [Says(first, 36), Says(second, 36)]
    assert [tokens(generator, model) for model in models] == [[[7, 2]], [[8, 2]]]
    assert tokens(generator, *models) == [[9, 2]]
    averaged = average([first.log_softmax(-1), second.log_softmax(-1)]).exp()
    torch.testing.assert_close(averaged, (first.softmax(-1) + second.softmax(-1)) / 2)


@pytest.mark.parametrize("option", ["prefix_tokens", "constraints"])
def test_prefixes_and_constraints_are_refused(generator: ParallelGenerator, option: str) -> None:
    with pytest.raises(UsageError, match="--prefix-size, --constraints: a parallel decoder takes neither"):
        generator.generate([], {"net_input": {}}, **{option: torch.zeros(1, 1)})


def test_models_that_do_not_fit_together_are_refused(dictionary: Dictionary, generator: ParallelGenerator) -> None:
    logits = logits_of([7, 9], symbols=len(dictionary))
    with pytest.raises(UsageError, match="--path: models of different --alignment"):
        decode(generator, Says(logits, 36, "ctc"), Says(logits, 36, "position"))
    with pytest.raises(UsageError, match="--path: models of different --num-queries"):
        decode(generator, Says(logits, 36), Says(logits[:, :1], 36))


def test_decoding_first_does_not_hinder_training(small_model: SmallModel, net_input: dict[str, Tensor]) -> None:
    """What is kept between passes (position buckets) serves training, even if decoding in inference mode made it."""
    from narvl.modules.positions import cached_image_buckets, cached_text_buckets

    for cached in (cached_text_buckets, cached_image_buckets):
        cached.cache_clear()
    model = small_model("narvl", 3)
    with torch.inference_mode():
        model(**net_input)
    model(**net_input)[0].sum().backward()
    assert model.encoder.token_rel_pos_table_list[0].weight.grad.any()


class TestBeam:
    def test_more_paths_win_and_scores_are_the_texts_log_probabilities(self, dictionary: Dictionary) -> None:
        """Blank 0.6, a token 0.4, twice: greedy says nothing, but three of the four paths say the token."""
        logits = torch.full((1, 2, 37), float("-inf"))
        logits[..., 36], logits[..., 7] = math.log(0.6), math.log(0.4)
        model = Says(logits, 36)
        assert tokens(ParallelGenerator(dictionary), model) == [[2]]
        [row] = ParallelGenerator(dictionary, beam=5, backend="plain").generate([model], {"net_input": {}})
        assert [hypothesis["tokens"].tolist() for hypothesis in row] == [[7, 2], [2]]
        assert [hypothesis["score"] for hypothesis in row] == pytest.approx([math.log(0.64), math.log(0.36)])
        assert row[0]["positional_scores"].tolist() == pytest.approx([math.log(0.64)])
        assert row[0].keys() == decode(ParallelGenerator(dictionary), model)[0].keys()

    def test_text_after_the_end_is_cut_in_every_hypothesis(self, dictionary: Dictionary) -> None:
        logits = logits_of([7, 2, 9, 9], symbols=len(dictionary))
        logits[0, 0, 8] = 4.5  # a second text beyond doubt: among equally likely ones, which are kept is chance
        [row] = ParallelGenerator(dictionary, beam=8).generate([Says(logits, 36)], {"net_input": {}})
        assert [hypothesis["tokens"].tolist() for hypothesis in row[:2]] == [[7, 2], [8, 2]]
        assert all(hypothesis["tokens"].tolist().index(2) == len(hypothesis["tokens"]) - 1 for hypothesis in row)
        assert len({tuple(hypothesis["tokens"].tolist()) for hypothesis in row}) == len(row) > 1

    def test_what_the_task_may_not_say_is_in_no_hypothesis(self, dictionary: Dictionary) -> None:
        allowed = torch.zeros(len(dictionary), dtype=torch.bool)
        allowed[[2, 7, 9]] = True
        logits = logits_of([7, 36, 9, 2], symbols=len(dictionary))
        logits[:, :, 11] = 1000.0
        generator = ParallelGenerator(dictionary, OutputVocabulary(allowed), beam=20, top_k=30)
        [row] = generator.generate([Says(logits, 36)], {"net_input": {}})
        assert row[0]["tokens"].tolist() == [7, 9, 2]
        assert {token for hypothesis in row for token in hypothesis["tokens"].tolist()} == {2, 7, 9}

    def test_a_random_model(
        self, dictionary: Dictionary, small_model: SmallModel, net_input: dict[str, Tensor]
    ) -> None:
        """With a padded batch, no hypothesis holds the blank, and a row's are the row's alone."""
        model = small_model("narvl", 2)
        generator = ParallelGenerator(dictionary, beam=4)
        together = generator.generate([model], {"net_input": net_input})
        for row, length in enumerate(net_input["src_lengths"].tolist()):
            alone = {name: tensor[row : row + 1] for name, tensor in net_input.items()}
            alone["src_tokens"] = alone["src_tokens"][:, :length]
            [expected] = generator.generate([model], {"net_input": alone})
            assert together[row][0]["tokens"].tolist() == expected[0]["tokens"].tolist()
            assert together[row][0]["score"] == pytest.approx(expected[0]["score"], abs=1e-4)
            assert all(int(hypothesis["tokens"].max()) < len(dictionary) for hypothesis in together[row])

    def test_models_are_averaged(self, dictionary: Dictionary) -> None:
        first, second = (torch.full((1, 1, len(dictionary) + 1), -1e9) for _ in range(2))
        first[0, 0, [7, 9]] = torch.tensor([0.55, 0.45]).log()
        second[0, 0, [8, 9]] = torch.tensor([0.55, 0.45]).log()
        generator = ParallelGenerator(dictionary, beam=3)
        [row] = generator.generate([Says(first, 36), Says(second, 36)], {"net_input": {}})
        assert row[0]["tokens"].tolist() == [9, 2]
        assert row[0]["score"] == pytest.approx(math.log(0.45))

    def test_queries_that_are_positions_have_no_paths(self, dictionary: Dictionary) -> None:
        logits = logits_of([7, 9], symbols=len(dictionary))
        with pytest.raises(UsageError, match="--ctc-beam 5: a model of --alignment position"):
            ParallelGenerator(dictionary, beam=5).generate([Says(logits, 36, "position")], {"net_input": {}})

    @pytest.mark.parametrize(
        ("options", "flag"),
        [
            ({"beam": -1}, "--ctc-beam -1"),
            ({"beam": 5, "top_k": 0}, "--ctc-top-k 0"),
            ({"beam": 5, "backend": "x"}, "--ctc-backend x"),
        ],
    )
    def test_options_are_checked_before_decoding(
        self, dictionary: Dictionary, options: dict[str, Any], flag: str
    ) -> None:
        with pytest.raises(UsageError, match=flag):
            ParallelGenerator(dictionary, **options)


@pytest.mark.parametrize("beam", [0, 3])
def test_outputs_that_are_no_numbers_name_their_rows(dictionary: Dictionary, beam: int) -> None:
    logits = torch.zeros(3, 4, len(dictionary) + 1)
    logits[1, 2, 5], logits[2] = math.nan, math.inf
    sample = {"net_input": {}, "id": torch.tensor([7, 3, 5]), "split": "test"}
    generator = ParallelGenerator(dictionary, beam=beam, backend="plain")
    with pytest.raises(DataError, match=r"test, rows 4, 6: the model's outputs are no numbers \(NaN\)"):
        generator.generate([Says(logits, len(dictionary))], sample)

"""All-candidate scoring, beam search over the candidates' trie and plain beam search, against each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from torch import Tensor

from narvl.data.vocabulary import Vocabulary
from narvl.decoding.all_candidates import AllCandidatesGenerator
from narvl.decoding.ar_search import ARSearch
from narvl.decoding.beam import BeamGenerator
from narvl.decoding.candidates import Candidates
from narvl.decoding.search import build_search
from narvl.errors import DataError, UsageError

SmallModel = Callable[..., Any]
Rows = list[list[dict[str, Any]]]

END = 2
A, B, C, D = 4, 5, 6, 7

#: Every text of this table is a candidate, so that masking changes nothing. "a" is the beginning of "a b" and "a c";
#: greedy decoding would begin with "a", but the best is "b c d".
FREE = {
    (): {A: 0.55, B: 0.45},
    (A,): {END: 0.5, B: 0.4, C: 0.1},
    (A, B): {END: 1.0},
    (A, C): {END: 1.0},
    (B,): {END: 0.25, C: 0.75},
    (B, C): {D: 1.0},
    (B, C, D): {END: 1.0},
}
ANSWERS = {(A,): 0.275, (A, B): 0.22, (A, C): 0.055, (B,): 0.1125, (B, C, D): 0.3375}
#: The same answers from a model that also says what is no candidate: over the candidates, the probabilities are FREE's.
LEAKY = {
    (): {A: 0.275, B: 0.225, D: 0.5},
    (A,): {END: 0.05, B: 0.04, C: 0.01, D: 0.9},
    (A, B): {END: 0.1, A: 0.9},
    (A, C): {END: 0.2, C: 0.8},
    (B,): {END: 0.05, C: 0.15, A: 0.8},
    (B, C): {D: 0.01, END: 0.99},
    (B, C, D): {END: 0.5, D: 0.5},
}
#: Another sentence, other probabilities.
OTHER = {**FREE, (): {A: 0.1, B: 0.9}}
OTHER_ANSWERS = {(A,): 0.05, (A, B): 0.04, (A, C): 0.01, (B,): 0.225, (B, C, D): 0.675}


def generate(generator: Any, sentences: int = 1) -> Rows:
    return generator.generate([], {"net_input": {"src_tokens": torch.zeros(sentences, 3, dtype=torch.long)}})


def probabilities(row: list[dict[str, Any]]) -> dict[tuple[int, ...], float]:
    assert all(hypothesis["tokens"][-1] == END for hypothesis in row)
    return {tuple(hypothesis["tokens"][:-1].tolist()): math.exp(hypothesis["score"]) for hypothesis in row}


def equal(ours: Rows, theirs: Rows) -> None:
    """The same answers in the same order, with the same scores."""
    for row, expected in zip(ours, theirs, strict=True):
        assert [hypothesis["tokens"].tolist() for hypothesis in row] == [h["tokens"].tolist() for h in expected]
        for hypothesis, other in zip(row, expected, strict=True):
            torch.testing.assert_close(
                hypothesis["positional_scores"], other["positional_scores"], atol=2e-5, rtol=1e-4
            )
            assert float(hypothesis["score"]) == pytest.approx(float(other["score"]), abs=2e-5)
            assert float(hypothesis["score"]) == pytest.approx(float(hypothesis["positional_scores"].sum()), abs=2e-5)


class TestKnownProbabilities:
    """A model whose every probability is given."""

    @pytest.fixture()
    def candidates(self, candidates_of: Callable[..., Candidates]) -> Candidates:
        return candidates_of(*ANSWERS)

    def test_all_three_agree(self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates) -> None:
        """Scores are the tables' products; a plain beam finds the same where a model says candidates alone."""
        models = [table(FREE)]
        options = {"beam_size": 5, "normalize_scores": False}
        every = generate(AllCandidatesGenerator(models, dictionary, candidates, nbest=5))
        by_trie = generate(BeamGenerator(models, dictionary, candidates=candidates, **options))
        plain = generate(BeamGenerator(models, dictionary, max_len_b=6, **options))
        assert probabilities(every[0]) == pytest.approx(ANSWERS, abs=1e-6)
        for rows in (by_trie, plain):
            assert probabilities(rows[0]) == pytest.approx(ANSWERS, abs=1e-6)
            scores = [float(hypothesis["score"]) for hypothesis in rows[0]]
            assert scores == sorted(scores, reverse=True)
            assert scores == pytest.approx([hypothesis["score"] for hypothesis in every[0]], abs=1e-6)

    def test_what_is_no_candidate_loses_its_probability_at_each_step(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates
    ) -> None:
        models = [table(LEAKY)]
        every = generate(AllCandidatesGenerator(models, dictionary, candidates, nbest=5))
        assert probabilities(every[0]) == pytest.approx(ANSWERS, abs=1e-6)
        for search in (BeamGenerator, ARSearch):
            beam = search(models, dictionary, candidates=candidates, beam_size=5, normalize_scores=False)
            assert probabilities(generate(beam)[0]) == pytest.approx(ANSWERS, abs=1e-6)
        assert sum(probabilities(every[0]).values()) == pytest.approx(1.0)

    @pytest.mark.parametrize("search", [BeamGenerator, ARSearch])
    @pytest.mark.parametrize("beam", [1, 2, 3, 4, 5, 6, 20, 35])
    def test_a_beam_may_be_larger_than_the_candidates(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates, beam: int, search: Any
    ) -> None:
        generator = search(
            [table(LEAKY, OTHER)], dictionary, candidates=candidates, beam_size=beam, normalize_scores=False
        )
        for row, expected in zip(generate(generator, 2), (ANSWERS, OTHER_ANSWERS), strict=True):
            found = probabilities(row)
            assert 1 <= len(found) == len(row) <= min(beam, 5)
            assert found == pytest.approx({text: expected[text] for text in found}, abs=1e-6)
            assert beam < 5 or len(found) == 5

    def test_a_narrow_beam_prunes_and_all_candidate_scoring_does_not(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates_of: Callable[..., Candidates]
    ) -> None:
        """The best answer begins with the less probable token."""
        probability = {(): {A: 0.6, B: 0.4}, (A,): {C: 0.5, D: 0.5}, (B,): {C: 0.9, D: 0.1}}
        candidates = candidates_of((A, C), (A, D), (B, C), (B, D))
        models = [table({**probability, **{text: {END: 1.0} for text in ((A, C), (A, D), (B, C), (B, D))}})]
        [[best]] = generate(AllCandidatesGenerator(models, dictionary, candidates))
        [[greedy]] = generate(BeamGenerator(models, dictionary, candidates=candidates, beam_size=1))
        assert best["tokens"].tolist() == [B, C, END]
        assert greedy["tokens"].tolist() in ([A, C, END], [A, D, END])

    def test_each_sentence_has_its_own_probabilities(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates
    ) -> None:
        models = [table(FREE, OTHER, LEAKY)]
        for chunk in (1, 4, 512):
            rows = generate(AllCandidatesGenerator(models, dictionary, candidates, nbest=5, chunk=chunk), 3)
            assert probabilities(rows[0]) == pytest.approx(ANSWERS, abs=1e-6)
            assert probabilities(rows[1]) == pytest.approx(OTHER_ANSWERS, abs=1e-6)
            assert probabilities(rows[2]) == pytest.approx(ANSWERS, abs=1e-6)

    def test_shared_prefixes_are_decoded_once_and_certain_ends_never(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates
    ) -> None:
        model = table(FREE, OTHER)
        generate(AllCandidatesGenerator([model], dictionary, candidates), 2)
        asked = sorted(prefix for rows in model.decoder.prefixes for prefix in rows)
        assert asked == [(), (), (A,), (A,), (B,), (B,)]  # once for each sentence

    @pytest.mark.parametrize("nbest", [1, 2, 5, 9])
    def test_nbest(self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates, nbest: int) -> None:
        [row] = generate(AllCandidatesGenerator([table(OTHER)], dictionary, candidates, nbest=nbest))
        ranked = [(B, C, D), (B,), (A,), (A, B), (A, C)]
        assert [tuple(hypothesis["tokens"][:-1].tolist()) for hypothesis in row] == ranked[:nbest]

    def test_a_hypothesis_is_fairseq_s(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates
    ) -> None:
        [[hypothesis]] = generate(AllCandidatesGenerator([table(OTHER)], dictionary, candidates))
        [[theirs]] = generate(BeamGenerator([table(OTHER)], dictionary, candidates=candidates))
        assert hypothesis.keys() == theirs.keys()
        assert hypothesis["tokens"].tolist() == [B, C, D, END]
        expected = [math.log(0.9), math.log(0.75), 0.0, 0.0]
        assert hypothesis["positional_scores"].tolist() == pytest.approx(expected, abs=1e-6)
        assert hypothesis["score"] == pytest.approx(sum(expected), abs=1e-6)
        assert hypothesis["attention"] is None and hypothesis["alignment"].numel() == 0

    def test_one_candidate_is_certain(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates_of: Callable[..., Candidates]
    ) -> None:
        only = candidates_of((C, D))
        for generator in (
            AllCandidatesGenerator([table(LEAKY)], dictionary, only),
            BeamGenerator([table(LEAKY)], dictionary, candidates=only, beam_size=4),
        ):
            [[hypothesis]] = generate(generator)
            assert (hypothesis["tokens"].tolist(), float(hypothesis["score"])) == ([C, D, END], 0.0)

    def test_models_are_averaged_before_the_candidates_are_singled_out(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates_of: Callable[..., Candidates]
    ) -> None:
        """The first model gives the candidates little: averaged first, the second decides."""
        candidates = candidates_of((A,), (B,))
        models = [table({(): {A: 0.09, B: 0.01, D: 0.9}}), table({(): {A: 0.2, B: 0.8}})]
        expected = {(A,): 0.29 / 1.1, (B,): 0.81 / 1.1}
        [row] = generate(AllCandidatesGenerator(models, dictionary, candidates, nbest=2))
        assert probabilities(row) == pytest.approx(expected, abs=1e-6)
        for search in (BeamGenerator, ARSearch):
            beam = search(models, dictionary, candidates=candidates, beam_size=2, normalize_scores=False)
            assert probabilities(generate(beam)[0]) == pytest.approx(expected, abs=1e-6)

    def test_temperature(self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates) -> None:
        every = generate(AllCandidatesGenerator([table(OTHER)], dictionary, candidates, nbest=5, temperature=3.0))
        beam = BeamGenerator(
            [table(OTHER)], dictionary, candidates=candidates, beam_size=5, normalize_scores=False, temperature=3.0
        )
        equal(every, generate(beam))
        assert probabilities(every[0])[(B,)] == pytest.approx(
            0.9 ** (1 / 3) / (0.9 ** (1 / 3) + 0.1 ** (1 / 3)) * 0.25 ** (1 / 3) / (0.25 ** (1 / 3) + 0.75 ** (1 / 3)),
            rel=1e-4,
        )


#: Some are the beginning of others; there are more first tokens than a beam of 5 holds.
TEXTS = [
    *("yes", "no", "red", "blue", "green", "circle", "square", "triangle", "left", "right"),
    *("a red", "a red square", "a red square above", "a blue circle", "a blue", "two", "two red squares"),
    *("0", "1", "10", "11", "the red circle is above the blue square", "the red circle", "the"),
]


@pytest.fixture(scope="module")
def vocabulary(scenes: Path) -> Vocabulary:
    return Vocabulary(scenes, code_dict_size=0, num_bins=10)


@pytest.fixture(scope="module")
def texts(vocabulary: Vocabulary) -> Candidates:
    return Candidates(TEXTS, vocabulary)


@pytest.fixture(scope="module")
def models(vocabulary: Vocabulary) -> list[Any]:
    """Two of ``ofa_nano``, with weights random enough to make sentences differ."""
    from narvl.models._config import PRESETS, OFAConfig
    from narvl.models.ofa import OFAModel

    task: Any = SimpleNamespace(target_dictionary=vocabulary.dictionary)
    models = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            model = OFAModel.build_model(OFAConfig(**PRESETS["nano"]), task)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() > 1:
                        parameter.add_(0.08 * torch.randn_like(parameter))
            models.append(model.eval())
    return models


class TestRandomModel:
    """``ofa_nano`` with the scenes' vocabulary: prefixes, padded batches and cached keys as in earnest."""

    @staticmethod
    def run(generator: Any, net_input: dict[str, Tensor]) -> Rows:
        return generator.generate([], {"net_input": dict(net_input)})

    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.parametrize("extra", [0, 9])
    def test_a_beam_that_holds_all_candidates_equals_scoring_them(
        self,
        vocabulary: Vocabulary,
        texts: Candidates,
        models: list[Any],
        net_input: dict[str, Tensor],
        number: int,
        extra: int,
    ) -> None:
        size = len(texts)
        used = models[:number]
        every = self.run(AllCandidatesGenerator(used, vocabulary.dictionary, texts, nbest=size), net_input)
        for search in (BeamGenerator, ARSearch):
            beam = search(used, vocabulary.dictionary, candidates=texts, beam_size=size + extra, normalize_scores=False)
            equal(every, self.run(beam, net_input))
        assert [len(row) for row in every] == [size] * 4
        assert len({tuple(tuple(h["tokens"].tolist()) for h in row) for row in every}) == 4, "rows must differ"
        for row in every:
            assert sum(math.exp(hypothesis["score"]) for hypothesis in row) == pytest.approx(1.0, abs=1e-4)

    def test_outputs_that_are_no_numbers_name_their_rows(
        self, vocabulary: Vocabulary, texts: Candidates, models: list[Any], net_input: dict[str, Tensor]
    ) -> None:
        images = net_input["patch_images"].clone()
        images[1, 0, 1, 1] = math.nan
        sample = {"net_input": {**net_input, "patch_images": images}, "id": torch.tensor([7, 3, 5, 9])}
        for search in (AllCandidatesGenerator, ARSearch):
            with pytest.raises(DataError, match=r"input, rows 4: the model's outputs are no numbers \(NaN\)"):
                search(models[:1], vocabulary.dictionary, candidates=texts).generate([], sample)

    @pytest.mark.parametrize("beam", [1, 3, 8])
    def test_both_beam_searches_agree(
        self,
        vocabulary: Vocabulary,
        texts: Candidates,
        models: list[Any],
        net_input: dict[str, Tensor],
        beam: int,
    ) -> None:
        for used in (models, models[:1]):
            ours, theirs = (
                self.run(
                    search(used, vocabulary.dictionary, candidates=texts, beam_size=beam, normalize_scores=False),
                    net_input,
                )
                for search in (ARSearch, BeamGenerator)
            )
            equal(ours, theirs)

    def test_logits_of_the_candidates_tokens_alone_are_enough(
        self, vocabulary: Vocabulary, texts: Candidates, models: list[Any], net_input: dict[str, Tensor]
    ) -> None:
        """A model asked for them alone, and averaged with itself, which takes its whole vocabulary."""
        widths: list[int] = []
        model = models[0]
        hook = model.decoder.register_forward_hook(lambda module, inputs, output: widths.append(output[0].size(-1)))
        alone, twice = (
            self.run(AllCandidatesGenerator([model] * number, vocabulary.dictionary, texts, nbest=24), net_input)
            for number in (1, 2)
        )
        hook.remove()
        equal(alone, twice)
        assert set(widths) == {len({int(token) for tokens in texts.tokens for token in tokens})}

    @pytest.mark.parametrize("chunk", [1, 7, 20])
    def test_chunks_change_nothing(
        self, vocabulary: Vocabulary, texts: Candidates, models: list[Any], net_input: dict[str, Tensor], chunk: int
    ) -> None:
        whole, parts = (
            AllCandidatesGenerator(models[:1], vocabulary.dictionary, texts, nbest=24, chunk=size)
            for size in (512, chunk)
        )
        equal(self.run(parts, net_input), self.run(whole, net_input))

    def test_equals_teacher_forcing(
        self, vocabulary: Vocabulary, texts: Candidates, models: list[Any], net_input: dict[str, Tensor]
    ) -> None:
        """Each candidate alone, in full, masked by hand."""
        rows = self.run(AllCandidatesGenerator(models[:1], vocabulary.dictionary, texts, nbest=24), net_input)
        sequences = [tokens.tolist() for tokens in texts.tokens]
        for hypothesis in rows[1]:
            said = hypothesis["tokens"]
            previous = torch.cat([torch.tensor([vocabulary.dictionary.bos()]), said[:-1]])
            with torch.no_grad():
                logits = models[0](
                    **{name: tensor[1:2] for name, tensor in net_input.items()}, prev_output_tokens=previous[None]
                )[0][0]
            for step, token in enumerate(said.tolist()):
                begun = [sequence for sequence in sequences if sequence[:step] == said[:step].tolist()]
                following = sorted({sequence[step] for sequence in begun})
                expected = logits[step, following].log_softmax(0)[following.index(token)]
                assert float(hypothesis["positional_scores"][step]) == pytest.approx(float(expected), abs=2e-5)

    def test_encoder_and_cross_attention_run_once_a_sentence(
        self,
        vocabulary: Vocabulary,
        texts: Candidates,
        models: list[Any],
        net_input: dict[str, Tensor],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of the image and the prompt nothing is computed again for a candidate or a step, in any search."""
        model = models[0]
        encoded: list[int] = []
        projected: list[tuple[int, ...]] = []
        attention = model.decoder.layers[0].encoder_attn
        keys_values, encode = attention.keys_values, model.encoder.forward
        monkeypatch.setattr(attention, "keys_values", lambda x: projected.append(tuple(x.shape[:1])) or keys_values(x))
        monkeypatch.setattr(model.encoder, "forward", lambda *a, **k: encoded.append(1) or encode(*a, **k))
        for generator in (
            AllCandidatesGenerator([model], vocabulary.dictionary, texts, chunk=5),
            BeamGenerator([model], vocabulary.dictionary, candidates=texts, beam_size=5),
            BeamGenerator([model], vocabulary.dictionary, beam_size=5, max_len_b=8),
            ARSearch([model], vocabulary.dictionary, beam_size=5, max_len_b=40),
        ):
            encoded.clear()
            projected.clear()
            self.run(generator, net_input)
            assert (encoded, projected) == ([1], [(4,)])


class TestRefusals:
    @pytest.fixture()
    def candidates(self, candidates_of: Callable[..., Candidates]) -> Candidates:
        return candidates_of((A,), (B,))

    @pytest.mark.parametrize(
        ("option", "flag"),
        [
            ({"no_repeat_ngram_size": 3}, "--no-repeat-ngram-size"),
            ({"min_len": 2}, "--min-len"),
            ({"match_source_len": True}, "--match-source-len"),
        ],
    )
    def test_options_that_shape_free_text(
        self,
        dictionary: Dictionary,
        table: Callable[..., Any],
        candidates: Candidates,
        option: dict[str, Any],
        flag: str,
    ) -> None:
        with pytest.raises(UsageError, match=f"{flag}: candidate answers"):
            build_search("optimised", [table(FREE)], dictionary, None, candidates, **option)

    def test_prefixes(self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates) -> None:
        sample = {"net_input": {"src_tokens": torch.zeros(1, 3, dtype=torch.long)}}
        prefix = torch.full((1, 1), A)
        with pytest.raises(UsageError, match="--prefix-size"):
            BeamGenerator([table(FREE)], dictionary, candidates=candidates).generate([], sample, prefix_tokens=prefix)
        for option in ("prefix_tokens", "constraints"):
            with pytest.raises(UsageError, match="--prefix-size, --constraints"):
                AllCandidatesGenerator([table(FREE)], dictionary, candidates).generate([], sample, **{option: prefix})

    @pytest.mark.parametrize("option", [{"nbest": 0}, {"chunk": 0}, {"temperature": 0.0}])
    def test_values_out_of_range(
        self, dictionary: Dictionary, table: Callable[..., Any], candidates: Candidates, option: dict[str, Any]
    ) -> None:
        with pytest.raises(UsageError, match=next(iter(option))):
            AllCandidatesGenerator([table(FREE)], dictionary, candidates, **option)

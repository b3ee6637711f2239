from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion, queries_needed, query_ctc_loss
from narvl.errors import UsageError

#: Classes of the small cases: </s> = 2, tokens 3 and 4, blank 5 (the last); <s>, <pad> are 0, 1.
CLASSES, BLANK, EOS = 6, 5, 2

MakeSample = Callable[..., dict[str, Any]]


def random_logits(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def padded(targets: Sequence[Sequence[int]], value: int = 1) -> tuple[Tensor, Tensor]:
    rows = [torch.tensor(target) for target in targets]
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value), lengths


def collapse(path: Sequence[int]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


def by_enumeration(logits: Tensor, target: Sequence[int]) -> float:
    """-log of the summed probability of every path that collapses to the target; inf if there is none."""
    log_probs = logits.log_softmax(-1).tolist()
    total = sum(
        math.exp(sum(log_probs[query][symbol] for query, symbol in enumerate(path)))
        for path in itertools.product(range(logits.size(-1)), repeat=len(logits))
        if collapse(path) == list(target)
    )
    return -math.log(total) if total else math.inf


def plain(logits: Tensor, target: Tensor, lengths: Tensor, blank: int, smoothing: float = 0.0) -> Tensor:
    """The same loss over all log-probabilities at once; right where every target is reachable."""
    log_probs = logits.log_softmax(-1)
    steps = torch.full_like(lengths, logits.size(1))
    nll = F.ctc_loss(log_probs.transpose(0, 1), target, steps, lengths, blank=blank, reduction="none") / lengths
    return (1 - smoothing) * nll - smoothing * log_probs.mean(dim=(1, 2))


targets = st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=4)


class TestAgainstEnumeration:
    @settings(max_examples=60, deadline=None)
    @given(target=targets, queries=st.integers(1, 5), seed=st.integers(0, 1000))
    def test_any_small_case(self, target: list[int], queries: int, seed: int) -> None:
        logits = random_logits(1, queries, CLASSES, seed=seed)
        expected = by_enumeration(logits[0], target)
        result = query_ctc_loss(logits, torch.tensor([target]), torch.tensor([len(target)]), BLANK)
        assert bool(result.reachable) == math.isfinite(expected)
        assert float(result.loss) == pytest.approx(expected / len(target) if math.isfinite(expected) else 0.0)
        assert torch.equal(result.nll, result.loss)

    @pytest.mark.parametrize(
        ("target", "needed"),
        [
            ([2], 1),
            ([3, 2], 2),
            ([3, 3], 3),
            ([3, 3, 2], 4),
            ([3, 4, 3, 2], 4),
            ([3, 3, 3, 3], 7),
            ([4, 4, 3, 3, 2], 7),
        ],
    )
    def test_as_many_queries_as_needed(self, target: list[int], needed: int) -> None:
        rows, lengths = padded([target])
        assert queries_needed(rows, lengths).tolist() == [needed]
        for queries, reachable in ((needed, True), (needed - 1, False)):
            if queries:
                result = query_ctc_loss(random_logits(1, queries, CLASSES), rows, lengths, BLANK)
                assert result.reachable.tolist() == [reachable]
                assert (float(result.loss) > 0) is reachable

    def test_worked_example(self) -> None:
        """Two queries, target "3": paths 33, 3- and -3."""
        probabilities = torch.tensor([[[0.1, 0.1, 0.1, 0.4, 0.1, 0.2], [0.1, 0.1, 0.1, 0.3, 0.1, 0.3]]])
        result = query_ctc_loss(probabilities.log(), torch.tensor([[3]]), torch.tensor([1]), BLANK)
        assert float(result.loss) == pytest.approx(-math.log(0.4 * 0.3 + 0.4 * 0.3 + 0.2 * 0.3))

    def test_padding_that_equals_a_token_counts_as_no_repetition(self) -> None:
        rows, lengths = torch.tensor([[3, 2, 2, 2]]), torch.tensor([2])
        assert queries_needed(rows, lengths).tolist() == [2]


class TestAgainstPlainCTC:
    """Gathering the target's log-probabilities first is exact, in value and gradient."""

    @settings(max_examples=60, deadline=None)
    @given(
        rows=st.lists(targets, min_size=1, max_size=4), seed=st.integers(0, 1000), smoothing=st.sampled_from([0.0, 0.1])
    )
    def test_value_and_gradient(self, rows: list[list[int]], seed: int, smoothing: float) -> None:
        target, lengths = padded(rows)
        weights = torch.arange(1, len(rows) + 1) / 2
        ours, theirs = (random_logits(len(rows), 7, CLASSES, seed=seed).requires_grad_() for _ in range(2))
        result = query_ctc_loss(ours, target, lengths, BLANK, smoothing)
        expected = plain(theirs, target, lengths, BLANK, smoothing)
        torch.testing.assert_close(result.loss, expected)
        (weights * result.loss).sum().backward()
        (weights * expected).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)

    def test_the_real_vocabulary(self) -> None:
        target, lengths = padded([[10, 313, 313, 10, 2], [4420, 2]])
        ours, theirs = (random_logits(2, 20, 59458, dtype=torch.float32).requires_grad_() for _ in range(2))
        result = query_ctc_loss(ours, target, lengths, 59457, 0.1)
        expected = plain(theirs, target, lengths, 59457, 0.1)
        torch.testing.assert_close(result.loss, expected)
        result.loss.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-3)


class TestGradient:
    TARGETS = [[3, 3, 2], [4, 2], [2], [3, 4, 3, 2]]

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0, 1.0], [0.3, 0.6, 1.0, 0.0]])
    def test_gradcheck(
        self, fixed_logits: Any, make_sample: MakeSample, smoothing: float, weights: list[float]
    ) -> None:
        """Of the criterion as trained: weights multiply losses, not log-probabilities, whose gradient is wrong then."""
        criterion, model = (
            QueryCTCCriterion(QueryCTCConfig(label_smoothing=smoothing), None),
            fixed_logits(BLANK, "ctc"),
        )

        def loss(logits: Tensor) -> Tensor:
            sample = make_sample(logits, self.TARGETS, weight=torch.tensor(weights, dtype=torch.float64))
            return criterion(model, sample)[0]

        assert torch.autograd.gradcheck(loss, random_logits(4, 5, CLASSES).requires_grad_())

    def test_gradcheck_beside_an_unreachable_target(self) -> None:
        target, lengths = padded([[3, 3, 2], [4, 2]])
        logits = random_logits(2, 3, CLASSES).requires_grad_()
        assert query_ctc_loss(logits, target, lengths, BLANK).reachable.tolist() == [False, True]
        assert torch.autograd.gradcheck(
            lambda logits: query_ctc_loss(logits, target, lengths, BLANK, 0.1).loss.sum(), logits
        )

    def test_a_confident_correct_model_gets_a_tiny_one(self, fixed_logits: Any, make_sample: MakeSample) -> None:
        """Weighted log-probabilities gave a norm of 180 here."""
        said = torch.tensor([[10, 313, 59457, 2, 59457, 59457]])
        logits = torch.zeros(1, 6, 59458).scatter(2, said.unsqueeze(2), 25.0).requires_grad_()
        sample = make_sample(logits, [[10, 313, 2]], weight=torch.tensor([0.3]))
        loss, _, _ = QueryCTCCriterion(QueryCTCConfig(), None)(fixed_logits(59457, "ctc"), sample)
        loss.backward()
        assert logits.grad is not None
        assert float(logits.grad.norm()) < 1e-4

    @pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
    def test_extreme_logits_stay_finite(self, scale: float) -> None:
        target, lengths = padded(self.TARGETS)
        logits = (scale * random_logits(4, 6, CLASSES, dtype=torch.float32)).requires_grad_()
        result = query_ctc_loss(logits, target, lengths, BLANK, 0.1)
        result.loss.sum().backward()
        assert result.loss.isfinite().all()
        assert logits.grad is not None and logits.grad.isfinite().all()


class TestBatches:
    TARGETS = [[3, 3, 2], [4, 2], [2], [3, 4, 3, 2], [4, 4, 4, 4, 2]]  # the last needs 8 queries

    @pytest.fixture()
    def logits(self) -> Tensor:
        return random_logits(5, 6, CLASSES)

    def test_invariant_to_what_padding_holds_and_how_much_there_is(self, logits: Tensor) -> None:
        expected = query_ctc_loss(logits, *padded(self.TARGETS), BLANK, 0.1)
        for value in (0, 2, 3, BLANK):
            target, lengths = padded(self.TARGETS, value)
            wide = F.pad(target, (0, 3), value=value)
            result = query_ctc_loss(logits, wide, lengths, BLANK, 0.1)
            torch.testing.assert_close(result.loss, expected.loss)
            assert torch.equal(result.needed, expected.needed)

    def test_invariant_to_batch_order(self, logits: Tensor) -> None:
        order = torch.tensor([3, 0, 4, 2, 1])
        target, lengths = padded(self.TARGETS)
        expected = query_ctc_loss(logits, target, lengths, BLANK, 0.1)
        result = query_ctc_loss(logits[order], target[order], lengths[order], BLANK, 0.1)
        torch.testing.assert_close(result.loss, expected.loss[order])

    @pytest.mark.parametrize("cut", [1, 2, 4])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_parts_of_a_batch_add_up(
        self, fixed_logits: Any, make_sample: MakeSample, logits: Tensor, cut: int, weighted: bool
    ) -> None:
        """fairseq adds the gradients of parts (or ranks) and divides by the sum of their sample sizes."""
        criterion, model = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None), fixed_logits(BLANK, "ctc")
        weights = torch.tensor([0.3, 1.0, 0.6, 0.9, 1.0])

        def run(begin: int, end: int) -> tuple[Tensor, int, dict[str, Any]]:
            entries = {"weight": weights[begin:end]} if weighted else {}
            return criterion(model, make_sample(logits[begin:end], self.TARGETS[begin:end], **entries))

        logits.requires_grad_()
        loss, size, log = run(0, 5)
        whole = torch.autograd.grad(loss / size, logits)[0]
        parts = [run(0, cut), run(cut, 5)]
        total = sum(part[1] for part in parts)
        assert total == size == 4
        torch.testing.assert_close(torch.autograd.grad(sum(part[0] for part in parts) / total, logits)[0], whole)
        for key, value in log.items():
            assert float(sum(part[2][key] for part in parts)) == pytest.approx(float(value)), key

    def test_unreachable_targets_are_counted_and_left_out(
        self, fixed_logits: Any, make_sample: MakeSample, logits: Tensor
    ) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None), fixed_logits(BLANK, "ctc")
        logits.requires_grad_()
        loss, size, log = criterion(model, make_sample(logits, self.TARGETS))
        assert (size, log["sample_size"], log["unreachable"], log["nsentences"], log["ntokens"]) == (4, 4, 1, 5, 15)
        gradient = torch.autograd.grad(loss, logits)[0]
        assert gradient.isfinite().all()
        assert not gradient[4].any()
        assert gradient[:4].abs().sum(dim=(1, 2)).all()
        alone, _, _ = criterion(model, make_sample(logits[:4], self.TARGETS[:4]))
        torch.testing.assert_close(loss, alone)

    def test_a_batch_of_unreachable_targets_alone(
        self, fixed_logits: Any, make_sample: MakeSample, logits: Tensor
    ) -> None:
        logits.requires_grad_()
        criterion, model = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None), fixed_logits(BLANK, "ctc")
        loss, size, log = criterion(model, make_sample(logits[4:], self.TARGETS[4:]))
        assert (float(loss.detach()), size, log["unreachable"]) == (0.0, 0, 1)
        assert not torch.autograd.grad(loss, logits)[0].any()

    def test_losses_apart(self, fixed_logits: Any, make_sample: MakeSample, logits: Tensor) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None), fixed_logits(BLANK, "ctc")
        sample = make_sample(logits, self.TARGETS)
        apart, together = criterion(model, sample, reduce=False)[0], criterion(model, sample)[0]
        assert apart.shape == (5,)
        torch.testing.assert_close(apart.sum(), together)


class TestHalfPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_computed_in_float32(self, dtype: torch.dtype) -> None:
        """Over a large vocabulary half precision would lose the loss in the normalisation."""
        target, lengths = padded([[10, 313, 2], [10, 10, 2]])
        logits = random_logits(2, 12, 3000, dtype=torch.float32).to(dtype)
        half, full = logits.clone().requires_grad_(), logits.float().requires_grad_()
        ours, expected = (query_ctc_loss(x, target, lengths, 2999, 0.1) for x in (half, full))
        assert ours.loss.dtype == torch.float32
        assert torch.equal(ours.loss, expected.loss)
        ours.loss.sum().backward()
        expected.loss.sum().backward()
        assert half.grad is not None and full.grad is not None
        assert half.grad.dtype == dtype
        torch.testing.assert_close(half.grad.float(), full.grad, atol=1e-4, rtol=1e-2)


class TestCriterion:
    def test_nothing_reachable_is_an_error(self, fixed_logits: Any, make_sample: MakeSample) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(), None), fixed_logits(BLANK, "ctc")
        sample = make_sample(random_logits(4, 2, CLASSES), [[3, 3, 2], [3, 4, 2], [3, 4, 3, 2], [4, 4, 2]])
        criterion(model, sample)
        with pytest.raises(UsageError, match="--num-queries 2: not one of the 8 targets .* batch needs 3 queries"):
            criterion(model, sample)

    def test_one_reachable_target_is_enough(self, fixed_logits: Any, make_sample: MakeSample) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(), None), fixed_logits(BLANK, "ctc")
        criterion(model, make_sample(random_logits(1, 2, CLASSES), [[2]]))
        for _ in range(3):
            criterion(model, make_sample(random_logits(4, 2, CLASSES), [[3, 3, 2]] * 4))

    def test_validation_is_never_stopped(self, fixed_logits: Any, make_sample: MakeSample) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(), None), fixed_logits(BLANK, "ctc").eval()
        for _ in range(3):
            _, size, log = criterion(model, make_sample(random_logits(4, 2, CLASSES), [[3, 3, 2]] * 4))
            assert (size, log["unreachable"]) == (0, 4)

    @pytest.mark.parametrize(("target", "reached"), [([3, 2], 1), ([3, 3, 4, 2], 0)])
    def test_positions_without_output_do_not_count(
        self, fixed_logits: Any, make_sample: MakeSample, target: list[int], reached: int
    ) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None), fixed_logits(BLANK, "ctc")
        logits = random_logits(1, 6, CLASSES).requires_grad_()
        sample = make_sample(logits, [target])
        sample["net_input"]["padding"] = torch.tensor([[False] * 4 + [True] * 2])
        expected, size, _ = criterion(model, make_sample(logits[:, :4], [target]))
        loss, padded_size, _ = criterion(model, sample)
        assert size == padded_size == reached
        torch.testing.assert_close(loss, expected)
        gradients = [torch.autograd.grad(part, logits)[0] for part in (loss, expected)]
        torch.testing.assert_close(*gradients)

    def test_wrong_models_are_refused(self, fixed_logits: Any, make_sample: MakeSample) -> None:
        sample = make_sample(random_logits(1, 2, CLASSES), [[2]])
        with pytest.raises(UsageError, match="--criterion query_ctc trains the parallel model: give --arch narvl_"):
            QueryCTCCriterion(QueryCTCConfig(), None)(torch.nn.Linear(1, 1), sample)
        with pytest.raises(UsageError, match="Add --alignment ctc"):
            QueryCTCCriterion(QueryCTCConfig(), None)(fixed_logits(BLANK, "position"), sample)

    @pytest.mark.parametrize("value", [-0.1, 1.0])
    def test_label_smoothing_out_of_range(self, value: float) -> None:
        with pytest.raises(UsageError, match=f"--label-smoothing {value}"):
            QueryCTCCriterion(QueryCTCConfig(label_smoothing=value), None)

    def test_logged_values(self, fixed_logits: Any, make_sample: MakeSample) -> None:
        from fairseq.logging import metrics

        criterion, model = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None), fixed_logits(BLANK, "ctc")
        logits = random_logits(3, 4, CLASSES)
        batches = [make_sample(logits[:2], [[3, 2], [3, 3, 3, 2]]), make_sample(logits[2:], [[4, 2]])]
        runs = [criterion(model, batch) for batch in batches]
        with metrics.aggregate(new_root=True) as logged:
            criterion.reduce_metrics([log for _, _, log in runs])
        values = logged.get_smoothed_values()
        assert values["loss"] == pytest.approx(float(runs[0][0] + runs[1][0]) / 2 / math.log(2), abs=1e-3)
        assert values["unreachable"] == pytest.approx(1 / 3, abs=1e-4)
        assert criterion.logging_outputs_can_be_summed()


class TestIntermediateLayers:
    def batch(self, make_sample: Any, layers: int = 2) -> dict[str, Any]:
        torch.manual_seed(4)
        logits, *inner = (torch.randn(3, 6, BLANK + 1) for _ in range(layers + 1))
        sample: dict[str, Any] = make_sample(logits, [[3, 4, 2], [5, 2], [3] * 9])
        sample["net_input"]["inner"] = inner
        sample["weight"] = torch.tensor([1.0, 0.5, 1.0])
        return sample

    def test_loss_is_shared_between_the_last_layer_and_the_mean_of_the_others(
        self, fixed_logits: Any, make_sample: Any
    ) -> None:
        sample, model = self.batch(make_sample), fixed_logits(BLANK, "ctc")
        plain = QueryCTCCriterion(QueryCTCConfig(), None)
        parts = []
        for logits in (sample["net_input"]["logits"], *sample["net_input"]["inner"]):
            parts.append(plain(model, {**sample, "net_input": {"logits": logits}})[0])
        cfg = QueryCTCConfig(intermediate_layers=[1, 2], intermediate_weight=0.4)
        loss, size, log = QueryCTCCriterion(cfg, None)(model, sample)
        assert torch.allclose(loss, 0.6 * parts[0] + 0.4 * (parts[1] + parts[2]) / 2)
        assert (size, log["unreachable"]) == (2, 1), "targets are counted once, not once a layer"
        one = QueryCTCCriterion(QueryCTCConfig(intermediate_layers=[2], intermediate_weight=0.4), None)
        assert torch.allclose(one(model, sample)[0], 0.6 * parts[0] + 0.4 * parts[2])

    def test_validation_judges_the_last_layer_alone(self, fixed_logits: Any, make_sample: Any) -> None:
        sample, model = self.batch(make_sample), fixed_logits(BLANK, "ctc").eval()
        deep = QueryCTCCriterion(QueryCTCConfig(intermediate_layers=[1, 2]), None)
        assert torch.equal(deep(model, sample)[0], QueryCTCCriterion(QueryCTCConfig(), None)(model, sample)[0])

    @pytest.mark.parametrize("layer", [0, 3, -1])
    def test_layer_that_the_decoder_has_not(self, layer: int, fixed_logits: Any, make_sample: Any) -> None:
        criterion = QueryCTCCriterion(QueryCTCConfig(intermediate_layers=[layer]), None)
        with pytest.raises(UsageError, match=f"--intermediate-layers {layer}: the decoder has 3 layers.*1 to 2"):
            criterion(fixed_logits(BLANK, "ctc"), self.batch(make_sample))

    def test_a_layer_that_is_given_twice(self) -> None:
        with pytest.raises(UsageError, match=r"--intermediate-layers \[2, 2\]: give each layer once"):
            QueryCTCCriterion(QueryCTCConfig(intermediate_layers=[2, 2]), None)

    def test_a_layer_that_is_fed_back_and_not_taught(self, fixed_logits: Any, make_sample: Any) -> None:
        criterion, model = QueryCTCCriterion(QueryCTCConfig(intermediate_layers=[1]), None), fixed_logits(BLANK, "ctc")
        model.decoder.self_conditioned = frozenset([1, 2])
        with pytest.raises(UsageError, match="--self-conditioned-layers 2: no loss teaches"):
            criterion(model, self.batch(make_sample))
        criterion(model.eval(), self.batch(make_sample))

    @pytest.mark.parametrize("weight", [0.0, 1.0, -1.0, float("nan")])
    def test_weight_out_of_range(self, weight: float) -> None:
        with pytest.raises(UsageError, match=f"--intermediate-weight {weight}: give a value between 0 and 1"):
            QueryCTCCriterion(QueryCTCConfig(intermediate_layers=[1], intermediate_weight=weight), None)

"""Targets, prompts and logits at the edge: losses and gradients are finite, or the sample is counted out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from narvl.criterions._parallel import ParallelCriterion
from narvl.criterions.query_cross_entropy import QueryCrossEntropyConfig, QueryCrossEntropyCriterion
from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion

CLASSES, BLANK, EOS, PAD = 6, 5, 2, 1
MODELS = {
    "query_ctc": ("narvl_nano",),
    "query_cross_entropy": ("narvl_nano", "--alignment", "position"),
    "label_smoothed_cross_entropy": ("ofa_nano",),
    "weighted_cross_entropy": ("ofa_nano",),
}
PARALLEL = ("query_ctc", "query_cross_entropy")


def random_logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class TestLosses:
    """The parallel losses by themselves."""

    @pytest.fixture(params=PARALLEL)
    def run(self, request: pytest.FixtureRequest, fixed_logits: Any, make_sample: Callable) -> Callable:
        """Compute loss, sample size, log and the logits' gradient: ``run(logits, targets)``."""
        if request.param == "query_ctc":
            criterion: ParallelCriterion = QueryCTCCriterion(QueryCTCConfig(label_smoothing=0.1), None)
        else:
            criterion = QueryCrossEntropyCriterion(
                QueryCrossEntropyConfig(label_smoothing=0.1, unused_queries="blank"), None
            )
        model = fixed_logits(BLANK, criterion.alignment)

        def compute(logits: Tensor, targets: list[list[int]]) -> tuple[Tensor, int, dict[str, Any], Tensor]:
            leaf = logits.clone().requires_grad_()
            sample = make_sample(leaf, targets)
            sample["target"] = F.pad(sample["target"], (0, 1), value=PAD)  # as wide as another row makes it
            loss, size, log = criterion(model, sample)
            loss.backward()
            assert leaf.grad is not None
            return loss.detach(), size, log, leaf.grad

        return compute

    @pytest.mark.parametrize("target", [[EOS], [3]])
    def test_one_query_says_one_token(self, run: Callable, target: list[int]) -> None:
        logits = random_logits(1, 1, CLASSES)
        loss, size, log, gradient = run(logits, [target])
        log_probs = logits.log_softmax(-1)[0, 0]
        assert float(loss) == pytest.approx(float(-0.9 * log_probs[target[0]] - 0.1 * log_probs.mean()), rel=1e-5)
        assert (size, log["unreachable"]) == (1, 0)
        assert gradient.isfinite().all() and gradient.any()

    def test_one_query_for_two_tokens(self, run: Callable) -> None:
        loss, size, log, gradient = run(random_logits(1, 1, CLASSES), [[3, EOS]])
        assert (float(loss), size, log["unreachable"]) == (0, 0, 1)
        assert not gradient.any()

    def test_a_row_of_padding_is_counted_out(self, run: Callable) -> None:
        logits = random_logits(3, 4, CLASSES)
        loss, size, log, gradient = run(logits, [[3, EOS], [], [4, EOS]])
        expected, expected_size, expected_log, expected_gradient = run(logits[[0, 2]], [[3, EOS], [4, EOS]])
        assert torch.equal(loss, expected) and size == expected_size == 2
        assert (log["unreachable"], log["loss"]) == (1, pytest.approx(expected_log["loss"]))
        assert torch.equal(gradient[[0, 2]], expected_gradient)
        assert not gradient[1].any()

    def test_nothing_but_padding(self, run: Callable) -> None:
        loss, size, log, gradient = run(random_logits(2, 4, CLASSES), [[], []])
        assert (float(loss), size, log["unreachable"]) == (0, 0, 2)
        assert not gradient.any()

    @pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e4), (torch.float32, 1e6), (torch.float16, 65504.0)])
    def test_extreme_logits(self, run: Callable, dtype: torch.dtype, scale: float) -> None:
        logits = (scale * random_logits(4, 5, CLASSES).clamp(-1, 1)).to(dtype)
        logits[0, 0] = -scale
        logits[1, :, BLANK] = scale
        loss, size, _, gradient = run(logits, [[3, 3, EOS], [3, 4, EOS], [EOS], [3, 4, 3, 4, 3, EOS]])
        assert size == 3
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert not gradient[3].any(), "it needs more queries than there are"


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, scenes: Path, build: Callable) -> tuple[str, Any, Any, Any]:
    arch, *flags = MODELS[request.param]
    flags += ["--patch-image-size", "32", "--label-smoothing", "0.1", "--criterion", request.param]
    task, model, criterion = build(scenes, arch, *flags)
    task.load_dataset("train")
    return request.param, task.dataset("train"), model.train(), criterion


class TestModels:
    """Each criterion through its model, whose gradients are what training takes."""

    def batch(self, dataset: Any, *rows: int) -> dict[str, Any]:
        return dataset.collater([dataset[row] for row in rows])

    def step(self, trained: tuple, batch: dict[str, Any]) -> tuple[float, int]:
        """Do forward and backward; everything must be finite."""
        _, _, model, criterion = trained
        model.zero_grad()
        loss, size, log = criterion(model, batch)
        loss.backward()
        assert loss.isfinite()
        assert all(torch.as_tensor(value).isfinite() for value in log.values())
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        return float(loss.detach()), size

    def test_one_sample(self, trained: tuple) -> None:
        loss, size = self.step(trained, self.batch(trained[1], 3))
        assert loss > 0 and size > 0

    def test_a_prompt_of_padding(self, trained: tuple) -> None:
        batch = self.batch(trained[1], 0, 5)
        batch["net_input"]["src_tokens"][1] = PAD
        batch["net_input"]["src_lengths"][1] = 0
        loss, size = self.step(trained, batch)
        assert loss > 0 and size > 0

    def test_a_target_that_is_its_end_alone(self, trained: tuple) -> None:
        batch = self.batch(trained[1], 0, 5)
        batch["target"][1] = PAD
        batch["target"][1, 0] = EOS
        batch["target_lengths"][1] = 1
        batch["net_input"]["prev_output_tokens"][1, 1:] = PAD
        loss, size = self.step(trained, batch)
        assert loss > 0 and size > 0

    @pytest.mark.parametrize("rows", [(0, 5), (5,)])
    def test_a_target_of_padding_is_counted_out(self, trained: tuple, rows: tuple[int, ...]) -> None:
        batch = self.batch(trained[1], *rows)
        batch["ntokens"] -= int(batch["target_lengths"][-1])
        batch["target"][-1] = PAD
        batch["target_lengths"][-1] = 0
        batch["net_input"]["prev_output_tokens"][-1] = PAD
        loss, size = self.step(trained, batch)
        name = trained[0]
        assert size == (len(rows) - 1 if name in PARALLEL else batch["ntokens"])
        assert (loss > 0) is (len(rows) > 1)

    def test_weights_of_a_thousand(self, trained: tuple) -> None:
        """Confident far beyond what training ever is, of the wrong tokens."""
        name, dataset, model, criterion = trained
        layer = model.decoder.layer_norm
        before = layer.weight.detach().clone()
        try:
            with torch.no_grad():
                layer.weight.mul_(1e3)
            loss, size = self.step(trained, self.batch(dataset, 0, 5))
        finally:
            with torch.no_grad():
                layer.weight.copy_(before)
        assert loss / size > 100


def test_one_query_through_the_model(scenes: Path, build: Callable) -> None:
    task, model, criterion = build(scenes, "narvl_nano", "--patch-image-size", "32", "--num-queries", "1")
    task.load_dataset("train")
    dataset = task.dataset("train")
    batch = dataset.collater([dataset[0], dataset[1]])
    batch["target"][0] = PAD
    batch["target"][0, 0] = EOS
    batch["target_lengths"][0] = 1
    loss, size, log = criterion(model.train(), batch)
    loss.backward()
    assert (size, log["unreachable"]) == (1, 1)
    assert loss.isfinite() and float(loss.detach()) > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

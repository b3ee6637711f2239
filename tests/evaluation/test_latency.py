from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from narvl.evaluation.latency import Contender, measure, spread, summarise

CPU = torch.device("cpu")


class Sleep(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self) -> None:
        time.sleep(self.seconds)


def test_contenders_take_turns_and_warm_up() -> None:
    calls: list[tuple[str, int]] = []
    contenders = [Contender(name, "", None, lambda batch, name=name: calls.append((name, batch))) for name in "abc"]
    measure(contenders, [0, 1, 2, 3], 1, CPU)
    assert calls[:6] == [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("c", 1), ("a", 1)]
    assert {len(contender.total_ms) for contender in contenders} == {3}


def test_the_encoder_is_timed_apart() -> None:
    encoder = Sleep(0.02)

    def run(batch: object) -> None:
        encoder()
        time.sleep(0.03)

    contender = Contender("a", "", encoder, run)
    measure([contender], [None] * 3, 0, CPU)
    [row] = summarise([contender])
    assert 20 <= row["encoder_ms"] < 45 and 30 <= row["decoder_ms"] < 60
    assert row["median_ms"] >= 50
    assert not encoder._forward_hooks and not encoder._forward_pre_hooks


def test_preparation_is_off_the_clock() -> None:
    def prepare(batch: int) -> int:
        time.sleep(0.05)
        return batch + 1

    given: list[int] = []
    contender = Contender("a", "", None, given.append, prepare)
    measure([contender], [1, 2], 0, CPU)
    assert given == [2, 3]
    assert max(contender.total_ms) < 40
    assert contender.encoder_ms == [0.0, 0.0]


def test_ratios_are_of_the_same_round() -> None:
    """A machine that is slow in some rounds is slow for all of them."""
    slow, fast = (Contender(name, "", None, print) for name in ("slow", "fast"))
    slow.total_ms, fast.total_ms = [10.0, 40.0, 20.0], [5.0, 10.0, 10.0]
    slow.encoder_ms = fast.encoder_ms = [1.0, 1.0, 1.0]
    first, second = summarise([slow, fast])
    assert (first["speedup"], second["speedup"]) == (1.0, 2.0)
    assert (second["speedup_q1"], second["speedup_q3"]) == (2.0, 3.0)
    assert (first["median_ms"], first["median_ms_q1"], first["median_ms_q3"]) == (20.0, 15.0, 30.0)
    assert first["decoder_ms"] == 19.0


def test_spread() -> None:
    assert spread([1, 2, 3, 4, 5]) == pytest.approx({"median": 3, "q1": 2, "q3": 4})

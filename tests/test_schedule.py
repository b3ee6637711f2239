"""Batches, accumulation, updates and warm-up from rows, epochs and GPUs."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from narvl.errors import UsageError
from narvl.schedule import Schedule, plan, share_batch

COCO = 113_287  # images of Karpathy's training split, one teacher caption each


def test_captioning_as_in_the_paper() -> None:
    schedule = plan(COCO, 5, 128, processes=8, batch_size=16, warmup_ratio=0.06)
    assert schedule == Schedule(processes=8, batch_size=16, accumulation=1, updates=5 * 886, warmup=266)


@pytest.mark.parametrize(
    ("processes", "largest", "share"),
    [
        (1, 16, (16, 8)),
        (2, 16, (16, 4)),
        (8, 24, (16, 1)),  # 24 would make 192
        (4, 24, (16, 2)),
        (8, 6, (4, 4)),
        (128, 16, (1, 1)),
        (1, 500, (128, 1)),
    ],
)
def test_the_effective_batch_is_shared(processes: int, largest: int, share: tuple[int, int]) -> None:
    assert share_batch(128, processes, largest) == share


@given(st.integers(1, 2048), st.integers(1, 64), st.integers(1, 256))
def test_the_effective_batch_stays_whatever_the_number_of_gpus(effective: int, processes: int, largest: int) -> None:
    assume(effective % processes == 0)
    size, accumulation = share_batch(effective, processes, largest)
    assert processes * size * accumulation == effective
    assert 1 <= size <= largest
    assert not any(effective % (processes * more) == 0 for more in range(size + 1, largest + 1))


@pytest.mark.parametrize(("processes", "fitting"), [(6, 4), (3, 2), (200, 128)])
def test_gpus_that_cannot_share_are_refused(processes: int, fitting: int) -> None:
    with pytest.raises(UsageError, match=rf"128 cannot be shared by {processes} GPUs. Take {fitting} \(NPROC\)"):
        share_batch(128, processes, 16)


@given(st.integers(1, 10_000), st.integers(1, 20), st.integers(1, 64), st.integers(1, 4))
def test_an_epoch_sees_every_row(rows: int, epochs: int, batch: int, processes: int) -> None:
    schedule = plan(rows, epochs, batch * processes, processes, batch, 0.06)
    updates = schedule.updates // epochs
    assert updates * epochs == schedule.updates
    assert (updates - 1) * schedule.effective_batch < rows <= updates * schedule.effective_batch
    assert 0 <= schedule.warmup <= schedule.updates


def test_what_the_user_fixes_is_kept() -> None:
    fixed = plan(1000, 5, 128, 2, 24, 0.06, accumulation=3)
    assert (fixed.batch_size, fixed.accumulation, fixed.effective_batch) == (24, 3, 144)
    assert fixed.updates == 5 * 7
    assert plan(1000, 5, 100, 2, 50, 0.1, max_updates=20).updates == 20
    assert plan(1000, 5, 100, 2, 50, 0.1, max_updates=20).warmup == 2
    assert plan(1000, 5, 100, 2, 50, 0.1, max_updates=2000).updates == 50
    assert plan(1000, 5, 100, 2, 50, 0.1, updates=30).warmup == 3
    assert plan(1000, 5, 100, 2, 50, 0.1, updates=30, warmup=0) == Schedule(2, 50, 1, 30, 0)

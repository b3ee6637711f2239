"""torch's DistributedDataParallel, fairseq's default on GPUs, waits for the gradient of every weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fairseq.distributed import ModuleProxyWrapper
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

Build = Callable[..., tuple[Any, Any, Any]]
NANO = ("--code-dict-size", "0", "--num-bins", "64", "--patch-image-size", "64")
BOXES = ("--alignment", "position", "--criterion", "query_cross_entropy")
#: More queries than these, and the decoder projects the encoder's states instead of attending over them as they are.
FEW, MANY = ("--num-queries", "20"), ("--num-queries", "40")


@pytest.fixture
def process_group() -> Iterator[None]:
    """A group of one process, which is as strict as a larger one."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    ("arch", "flags"),
    [
        ("narvl_nano", FEW),
        ("narvl_nano", MANY),
        ("narvl_nano", (*FEW, *BOXES)),
        ("narvl_nano", (*FEW, "--intermediate-layers", "1")),
        ("narvl_nano", (*FEW, "--intermediate-layers", "1", "--self-conditioned-layers", "1")),
        ("narvl_nano", (*FEW, "--checkpoint-activations")),
        ("narvl_nano", (*FEW, "--freeze-embedding", "--freeze-resnet")),
        ("narvl_nano", (*FEW, "--decoder-input", "encoder")),
        (
            "narvl_nano",
            (*FEW, "--batch-norm", "frozen", "--encoder-drop-path-rate", "0.5", "--decoder-drop-path-rate", "0.5"),
        ),
        ("ofa_nano", ()),
        ("ofa_nano", ("--freeze-embedding",)),
    ],
)
def test_every_weight_is_given_a_gradient(scenes: Path, build: Build, arch: str, flags: tuple[str, ...]) -> None:
    task, model, criterion = build(scenes, arch, *NANO, *flags)
    task.load_dataset("train")
    rows = task.dataset("train")
    together = ModuleProxyWrapper(DistributedDataParallel(model.train()))
    for update in range(2):
        sample = rows.collater([rows[4 * update + place] for place in range(4)])
        loss, _, _ = criterion(together, sample)
        loss.backward()
        missing = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
        assert not missing

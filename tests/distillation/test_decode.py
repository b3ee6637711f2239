"""What narvl distill decode asks of fairseq-generate, and what it makes of the answer; no model is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import fairseq_cli.generate
import pytest

from narvl.distillation.decode import decode_shard
from narvl.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:\\s*'config' is validated:UserWarning")


class Generate:
    """Stands in for fairseq-generate: answers the listed rows, up to ``limit``, except the bad ones."""

    def __init__(self, block: Callable) -> None:
        self.block = block
        self.limit = 1000
        self.bad: set[int] = set()
        self.asked: list[list[int]] = []
        self.cfg: Any = None

    def __call__(self, cfg: Any, output: TextIO) -> None:
        self.cfg = cfg
        rows = [int(line) for line in Path(cfg.task.only_rows).read_text().split()]
        self.asked.append(rows)
        for place, row in enumerate(rows):
            if place == self.limit:
                raise KeyboardInterrupt
            if row not in self.bad:
                output.write(self.block(row))


@pytest.fixture
def generate(block: Callable, monkeypatch: pytest.MonkeyPatch) -> Generate:
    fake = Generate(block)
    monkeypatch.setattr(fairseq_cli.generate, "_main", fake)
    return fake


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    (tmp_path / "teacher.pt").write_bytes(b"weights")
    return ["--path", str(tmp_path / "teacher.pt"), "--beam", "3", "--cpu"]


def test_only_the_missing_rows_of_the_block_are_asked_for(
    captions: Callable, generate: Generate, flags: list[str]
) -> None:
    out = captions(10)
    generate.limit = 2
    with pytest.raises(KeyboardInterrupt):
        decode_shard(out, 1, 2, flags)
    generate.limit = 1000
    # Nothing that leaves the texts as they are stands in the way of going on.
    assert decode_shard(out, 1, 2, [*flags, "--batch-size", "7", "--num-workers", "0", "--task", "captioning"]) == (
        5,
        5,
    )
    assert decode_shard(out, 1, 2, flags) == (5, 5)
    assert generate.asked == [[5, 6, 7, 8, 9], [7, 8, 9]]
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["1-of-2.txt"]


def test_fairseq_is_told_the_whole_split_of_the_folder(
    captions: Callable, generate: Generate, flags: list[str]
) -> None:
    out = captions(3)
    decode_shard(out, 0, 1, [*flags, "--distributed-world-size", "8", "--gen-subset", "teacher"])
    cfg = generate.cfg
    assert (cfg.task._name, cfg.task.data, cfg.dataset.gen_subset) == ("captioning", str(out), "teacher")
    assert cfg.distributed_training.distributed_world_size == 1  # else one row in eight would be decoded
    assert cfg.generation.beam == 3


def test_a_changed_teacher_or_flag_is_refused(captions: Callable, generate: Generate, flags: list[str]) -> None:
    out = captions(3)
    decode_shard(out, 0, 3, flags)
    with pytest.raises(UsageError, match="other settings: beam 3, now 5"):
        decode_shard(out, 0, 3, [*flags, "--beam", "5"])
    with pytest.raises(UsageError, match="other settings: patch_image_size 480, now 64"):
        decode_shard(out, 0, 3, [*flags, "--patch-image-size", "64"])
    with pytest.raises(UsageError, match="--num-shards 2: .*0-of-3.txt is of another division"):
        decode_shard(out, 0, 2, flags)
    moved = Path(flags[1]).rename(Path(flags[1]).with_name("moved.pt"))
    assert decode_shard(out, 0, 3, ["--path", str(moved), *flags[2:]]) == (1, 1)
    moved.write_bytes(b"others!")
    with pytest.raises(UsageError, match="other settings: teacher"):
        decode_shard(out, 0, 3, ["--path", str(moved), *flags[2:]])


@pytest.mark.parametrize(
    "wrong",
    [
        ["--gen-subset", "valid"],
        ["--results-path", "x"],
        ["--only-rows", "x"],
        ["--num-shards", "2"],
        ["--shard-id", "1"],
        ["--nbest", "2"],
        ["--quiet"],
        ["--sampling"],
        ["--task", "vqa"],
        ["--path", "none.pt"],
    ],
    ids=lambda words: words[0],
)
def test_flags_that_do_not_fit(captions: Callable, generate: Generate, flags: list[str], wrong: list[str]) -> None:
    out = captions(3)
    with pytest.raises(UsageError, match=" ".join(wrong)):
        decode_shard(out, 0, 1, [*flags, *wrong])
    assert not (out / "shards").exists()


def test_a_teacher_is_needed(captions: Callable, tmp_path: Path) -> None:
    out = captions(3)
    with pytest.raises(UsageError, match="--path is missing"):
        decode_shard(out, 0, 1, ["--beam", "3"])
    with pytest.raises(UsageError, match="--shard-id 1"):
        decode_shard(out, 1, 1, [])
    with pytest.raises(DataError, match="narvl distill rows"):
        decode_shard(tmp_path, 0, 1, [])


def test_rows_that_do_not_come_back(captions: Callable, generate: Generate, flags: list[str]) -> None:
    out = captions(4)
    generate.bad = {1, 3}
    with pytest.raises(DataError, match=r"2 rows did not come back \(first: 2\)"):
        decode_shard(out, 0, 1, flags)
    # Bad rows are not asked for a third time.
    assert decode_shard(out, 0, 1, [*flags, "--skip-bad-rows"]) == (2, 4)
    assert decode_shard(out, 0, 1, [*flags, "--skip-bad-rows"]) == (2, 4)
    assert generate.asked == [[0, 1, 2, 3], [1, 3]]


def test_more_shards_than_rows(captions: Callable, generate: Generate, flags: list[str]) -> None:
    out = captions(2)
    assert [decode_shard(out, index, 4, flags) for index in range(4)] == [(0, 0), (1, 1), (0, 0), (1, 1)]
    assert generate.asked == [[0], [1]]


def test_a_full_disk_is_told_and_decoding_goes_on(
    captions: Callable, generate: Generate, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = captions(4)

    def fill(cfg: Any, output: TextIO) -> None:
        output.write(generate.block(0) + generate.block(1)[:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fairseq_cli.generate, "_main", fill)
        with pytest.raises(
            UsageError, match=r"0-of-1\.txt: cannot be written \(No space left on device\)\. Free space"
        ):
            decode_shard(out, 0, 1, flags)
    assert decode_shard(out, 0, 1, flags) == (4, 4)
    assert generate.asked == [[1, 2, 3]]

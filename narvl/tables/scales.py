"""The two scales of the tables: what stands for data sets, sizes and starting points in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from narvl.prepare.published import COCO, REFCOCO, SNLI_VE, VQA

#: The metric that a task is compared by.
METRIC = {"captioning": "CIDEr", "vqa": "accuracy", "grounding": "Acc@0.5", "entailment": "accuracy"}


@dataclass(frozen=True)
class Dataset:
    """Data of a task.

    Attributes:
        name: its folder, and what tables call it.
        task: whose rows they are.
        paper: the data set of the paper that it stands for.
        splits: that are decoded; to each the name that the paper has for it, "" where the paper has one split alone.
        training: flags of its own.
    """

    name: str
    task: str
    paper: str
    splits: Mapping[str, str]
    training: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """A model's size: the recipe's, and flags that change it."""

    recipe: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """What the tables are made of.

    Attributes:
        name: ``scenes`` or ``paper``.
        datasets: of all tasks.
        sizes: by name, the smallest first.
        base: the size that tables are about unless they say another.
        large: the largest size.
        queries: N for the table of all tasks.
        least_queries: fewest N that can say what a task's models learn, where tables would go below.
        max_len_b: longest answer of each task, in tokens, for timing the autoregressive model.
        vocabulary: symbols of the token table.
        training_rows: of each data set, where recipes need to know.
        timed_on_cpu: whether latency is measured without a GPU.
        teacher_free: flags of parallel models that are trained without an autoregressive one of their task: on scenes
            as many updates as teacher and student have together.
        grouped: flags of trainings whose rows have all captions of an image each.
        weights: folder of OFA's checkpoints, from which every model starts; None where models are trained from scratch.
        data: folder of the data sets; None where they are made.
    """

    name: str
    datasets: tuple[Dataset, ...]
    sizes: Mapping[str, Size]
    base: str
    large: str
    queries: tuple[int, ...]
    max_len_b: Mapping[str, int]
    vocabulary: int
    training_rows: Mapping[str, int]
    timed_on_cpu: bool
    teacher_free: Mapping[str, tuple[str, ...]]
    grouped: tuple[str, ...] = ()
    least_queries: Mapping[str, int] = field(default_factory=dict)
    weights: Path | None = None
    data: Path | None = None

    def dataset(self, task: str) -> Dataset:
        """Return the first data set of a task."""
        return next(dataset for dataset in self.datasets if dataset.task == task)

    def queries_of(self, task: str, queries: int) -> int:
        """Return a table's number of queries, or the fewest that can say a task's texts."""
        return max(queries, self.least_queries.get(task, 0))

    def metric(self, dataset: Dataset, metric: str, split: str) -> str:
        """Name a metric on a split, as the paper's tables do."""
        return f"{metric} {dataset.splits[split]}".strip()


#: Updates of a captioner of the scenes that learns without a teacher.
SCENES_UPDATES = 1650


def scenes() -> Scale:
    """Return the scale of the embedded scenes: nano models on a CPU."""
    small = "--embed-dim 64 --ffn-embed-dim 256 --attention-heads 2 --encoder-layers 1 --decoder-layers 1"
    # One row an image makes short epochs: validation keeps to its number of updates.
    length = f"--total-num-update {SCENES_UPDATES} --max-update {SCENES_UPDATES}"
    longer = f"--lr 2e-3 {length} --save-interval 1000 --validate-interval 1000"
    wide = "--embed-dim 192 --ffn-embed-dim 768 --attention-heads 6 --encoder-layers 3 --decoder-layers 3"
    return Scale(
        name="scenes",
        datasets=(
            Dataset("captioning", "captioning", "coco", {"test": ""}),
            Dataset("vqa", "vqa", "vqa", {"test": "test-dev"}),
            Dataset("grounding", "grounding", "refcoco", {"test": "val"}),
            Dataset("entailment", "entailment", "snli-ve", {"test": "dev"}),
        ),
        sizes={
            "small": Size("nano", tuple(small.split())),
            "nano": Size("nano"),
            "wide": Size("nano", tuple(wide.split())),
        },
        base="nano",
        large="wide",
        queries=(10, 20, 30, 40),
        max_len_b={"captioning": 24, "vqa": 5, "grounding": 4, "entailment": 2},
        vocabulary=250,
        training_rows={},
        timed_on_cpu=True,
        teacher_free={
            "captioning": tuple(longer.split()),
            "vqa": ("--total-num-update", "1200", "--max-update", "1200"),
        },
        least_queries={"captioning": 12},  # "from left to right a red ring and a blue cross" and `</s>`
    )


def paper(data: Path, weights: Path) -> Scale:
    """Return the paper's scale: public data sets and OFA's checkpoints.

    Args:
        data: folder with one folder for each data set, as ``narvl prepare`` writes them.
        weights: folder with ``ofa_tiny.pt``, ``ofa_base.pt``, ``ofa_large.pt``, ``ofa_huge.pt``.
    """
    sizes = {"coco": COCO, "vqa": VQA, "snli-ve": SNLI_VE, **REFCOCO}
    box = {"valid": "val", "testA": "testA", "testB": "testB"}
    return Scale(
        name="paper",
        datasets=(
            Dataset("coco", "captioning", "coco", {"test": ""}),
            # The test splits' answers are the server's: validation is scored, test is decoded for submission.
            Dataset("vqa", "vqa", "vqa", {"valid": "val", "test-dev": "test-dev", "test": "test-std"}),
            Dataset("refcoco", "grounding", "refcoco", box),
            Dataset("refcoco+", "grounding", "refcoco+", box),
            Dataset("refcocog", "grounding", "refcocog", {"valid": "val", "test": "test"}, ("--max-epoch", "12")),
            Dataset("snli-ve", "entailment", "snli-ve", {"valid": "dev", "test": "test"}),
        ),
        sizes={name: Size(name) for name in ("tiny", "base", "large", "huge")},
        base="base",
        large="huge",
        queries=(10, 20, 30, 40),
        max_len_b={"captioning": 16, "vqa": 20, "grounding": 4, "entailment": 2},
        vocabulary=59_457,
        training_rows={name: size.splits["train"].rows or 0 for name, size in sizes.items()},
        timed_on_cpu=False,
        teacher_free={},
        # Of a fifth of the rows: as many updates, and as many validations, as the recipe's 5 epochs.
        grouped=("--max-epoch", "25", "--validate-interval", "5", "--save-interval", "5"),
        weights=weights,
        data=data,
    )

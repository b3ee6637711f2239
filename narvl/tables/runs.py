"""The runs that tables are made of: each method adds jobs to the plan, and returns where their files will be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narvl.tables.job import Job, Plan, word
from narvl.tables.record import read_record
from narvl.tables.scales import Dataset, Scale

#: Tasks whose parallel models learn from the autoregressive model's texts.
DISTILLED = ("captioning", "vqa")
#: Tasks that start from a pretrained model where there are no published weights; the others start from scratch.
_PRETRAINED = ("vqa", "entailment")


@dataclass(frozen=True)
class Trained:
    """A trained model: its job, recipe, data set, seed and checkpoint."""

    job: Job
    recipe: str
    dataset: Dataset
    seed: int
    checkpoint: Path

    @property
    def family(self) -> str:
        """``ofa`` or ``narvl``."""
        return self.recipe.partition("/")[2].partition("_")[0]


@dataclass(frozen=True)
class Decoded:
    """A split that a model has decoded: its job, data set, split, folder, and the folder of the data."""

    job: Job
    dataset: Dataset
    split: str
    folder: Path
    data: Path

    def scores(self) -> dict[str, Any] | None:
        """Read the scores; None where the split has no targets."""
        path = self.folder / f"scores-{self.split}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    @property
    def texts(self) -> Path:
        """What fairseq-generate wrote."""
        return self.folder / f"generate-{self.split}.txt"


@dataclass(frozen=True)
class Timed:
    """A measurement of latency: its job and file."""

    job: Job
    path: Path

    def row(self, name: str, decoding: str) -> dict[str, Any]:
        """Read what was timed of a run; ``decoding`` is the start of its way to decode."""
        rows: list[dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))["rows"]
        return next(row for row in rows if row["name"] == name and str(row["decoding"]).startswith(decoding))


class Runs:
    """The runs of a scale.

    Args:
        scale: what they are made of.
        folder: of all runs; absolute.
        cpu: train and decode without a GPU.
    """

    def __init__(self, scale: Scale, folder: Path, cpu: bool = False) -> None:
        self.scale = scale
        self.folder = folder
        self.plan = Plan()
        self._cpu = ("--cpu",) if cpu else ()

    def ended(self, job: Job) -> bool:
        """Tell whether a job has ended well."""
        return read_record(self.folder, job) is not None

    def data(self, dataset: Dataset) -> tuple[Path, tuple[str, ...]]:
        """Return a data set's folder, and the jobs that make it."""
        if self.scale.data is not None:
            return self.scale.data / dataset.name, ()
        return self._scenes(dataset.task)

    def teacher(self, dataset: Dataset, seed: int, size: str = "") -> Trained:
        """Train the autoregressive model."""
        start, needs = self._start(dataset.task, size or self.scale.base)
        return self._train(dataset, "ofa", seed, size, "ofa", self.data(dataset), start, needs, ())

    def distilled(self, teacher: Trained) -> tuple[Path, tuple[str, ...]]:
        """Let a teacher rewrite its training targets; return the student's data folder, and the jobs that make it."""
        out = self.folder / f"{teacher.job.name}-distilled"
        data, needs = self.data(teacher.dataset)
        command = (
            "run_scripts/distill.sh",
            teacher.recipe,
            word(teacher.checkpoint),
            word(data),
            word(out),
            *self._cpu,
        )
        job = self.plan.add(
            Job(_below(self.folder, out), "distil", (command,), (*needs, teacher.job.name), teacher.seed)
        )
        return out, (job.name,)

    def grouped(self, dataset: Dataset) -> tuple[Path, tuple[str, ...]]:
        """Join the captions of each image into one row; return the data folder, and the jobs that make it.

        Data sets of other tasks have all that is right in one row already.
        """
        data, needs = self.data(dataset)
        if dataset.task != "captioning":
            return data, needs
        out = self.folder / "data" / f"{dataset.name}-grouped"
        command = ("narvl", "group", "--data", word(data), "--out", word(out))
        return out, (self.plan.add(Job(_below(self.folder, out), "data", (command,), needs)).name,)

    def student(
        self,
        dataset: Dataset,
        seed: int,
        name: str = "narvl",
        flags: tuple[str, ...] = (),
        distil: bool = True,
        size: str = "",
        teacher_size: str = "",
        all_references: bool = False,
        teacher_free: bool = False,
        from_teacher: bool = False,
        after: Trained | None = None,
    ) -> Trained:
        """Train the parallel model.

        Args:
            dataset: its data.
            seed: of the training; its teacher's too.
            name: of the run, for a variation.
            flags: of the variation.
            distil: learn from the teacher's texts, in the tasks where the paper does.
            size: of the model; the scale's base by default.
            teacher_size: of its teacher; the model's own by default.
            all_references: learn all right outputs of a row at once; without a teacher's texts.
            teacher_free: start from no autoregressive model of the task either: from pretraining, or from nothing.
            from_teacher: start from the autoregressive model's weights at any scale, whoever's texts are learned.
            after: learn the texts of this model, from its weights; no other teacher.
        """
        size = size or self.scale.base
        if after is not None:
            weights, needed = ("--finetune-from-model", word(after.checkpoint)), (after.job.name,)
            return self._train(dataset, "narvl", seed, size, name, self.distilled(after), weights, needed, flags)
        start, needs = self._start(dataset.task, size)
        data = self.grouped(dataset) if all_references else self.data(dataset)
        if all_references:
            more = self.scale.grouped if dataset.task == "captioning" else ()
            flags = ("--references", "all", *more, *flags)
        if teacher_free:
            flags = (*self.scale.teacher_free.get(dataset.task, ()), *flags)
        elif dataset.task in DISTILLED:
            if distil:
                data = self.distilled(self.teacher(dataset, seed, teacher_size or size))
            if from_teacher or self.scale.weights is None or (distil and not teacher_size):
                # As run_scripts/pipeline.sh does. On scenes this is all the pretraining there is, whoever distils.
                own = self.teacher(dataset, seed, size)
                start, needs = ("--finetune-from-model", word(own.checkpoint)), (own.job.name,)
        return self._train(dataset, "narvl", seed, size, name, data, start, needs, flags)

    def decoded(self, model: Trained, split: str, name: str = "", flags: tuple[str, ...] = ()) -> Decoded:
        """Decode and score a split.

        Args:
            model: what decodes.
            split: of the model's data set.
            name: of the way to decode, for a variation.
            flags: of the variation.
        """
        folder = self.folder / model.job.name / (f"decoded-{name}" if name else "decoded")
        data, needs = self.data(model.dataset)
        words = (model.recipe, word(model.checkpoint), word(data), split, word(folder))
        command = ("run_scripts/evaluate.sh", *words, *self._cpu, *flags)
        job = Job(f"{_below(self.folder, folder)}/{split}", "decode", (command,), (*needs, model.job.name), model.seed)
        return Decoded(self.plan.add(job), model.dataset, split, folder, data)

    def timed(self, name: str, models: Mapping[str, Trained], flags: tuple[str, ...] = ()) -> Timed:
        """Time models of one task side by side, one image at a time.

        Args:
            name: of the measurement.
            models: by the names of their rows, the baseline first.
            flags: of ``narvl latency``.
        """
        dataset = next(iter(models.values())).dataset
        data, needs = self.data(dataset)
        path = self.folder / "latency" / name / "latency.json"
        split = next(iter(dataset.splits))
        command = ["narvl", "latency", "--data", word(data), "--split", split, "--json", word(path)]
        for row, model in models.items():
            command += ["--run", f"{row}={word(model.checkpoint)}"]
        command += ["--max-len-b", str(self.scale.max_len_b[dataset.task])]
        command += ["--cpu"] if self.scale.timed_on_cpu or self._cpu else []
        needs = (*needs, *(model.job.name for model in models.values()))
        job = Job(f"latency/{name}", "time", ((*command, *flags),), tuple(dict.fromkeys(needs)))
        return Timed(self.plan.add(job), path)

    def _scenes(self, task: str) -> tuple[Path, tuple[str, ...]]:
        out = self.folder / "data" / task
        command = ("narvl", "scenes", "--task", task, "--out", word(out), "--seed", "0")
        return out, (self.plan.add(Job(f"data/{task}", "data", (command,), seed=0)).name,)

    def _start(self, task: str, size: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the flags that a training starts by, and the jobs that make its start."""
        if self.scale.weights is not None:
            return ("--finetune-from-model", word(self.scale.weights / f"ofa_{self.scale.sizes[size].recipe}.pt")), ()
        if task not in _PRETRAINED:
            return (), ()
        model = self._pretrained(size)
        return ("--finetune-from-model", word(model.checkpoint)), (model.job.name,)

    def _pretrained(self, size: str) -> Trained:
        """Train what stands for OFA's pretraining on scenes: captions first, then questions and hypotheses too."""
        captioner = self.teacher(self.scale.dataset("captioning"), 1, size)
        folder = self.folder / "pretrained" / size
        data, needs = self._scenes("pretraining")
        flags = ("--seed", "1", "--finetune-from-model", word(captioner.checkpoint), *self.scale.sizes[size].flags)
        recipe = "vqa/ofa_pretraining"
        command = ("run_scripts/train.sh", recipe, word(data), word(folder), *flags)
        job = Job(f"pretrained/{size}", "train", (command,), (*needs, captioner.job.name), 1)
        return Trained(self.plan.add(job), recipe, captioner.dataset, 1, folder / "checkpoint_best.pt")

    def _train(
        self,
        dataset: Dataset,
        family: str,
        seed: int,
        size: str,
        name: str,
        data: tuple[Path, tuple[str, ...]],
        start: tuple[str, ...],
        needs: tuple[str, ...],
        flags: tuple[str, ...],
    ) -> Trained:
        size = size or self.scale.base
        chosen = self.scale.sizes[size]
        recipe = f"{dataset.task}/{family}_{chosen.recipe}"
        folder = self.folder / dataset.name / (name if size == self.scale.base else f"{name}-{size}") / f"seed{seed}"
        command = ("run_scripts/train.sh", recipe, word(data[0]), word(folder), "--seed", str(seed))
        commands = [(*command, *start, *dataset.training, *chosen.flags, *flags, *self._cpu)]
        checkpoint = folder / "checkpoint_best.pt"
        if self.scale.weights is not None and dataset.task == "vqa":  # whose recipe averages the weights
            commands.append(("narvl", "ema", word(checkpoint), word(folder / "best.pt")))
            checkpoint = folder / "best.pt"
        job = Job(_below(self.folder, folder), "train", tuple(commands), tuple(dict.fromkeys((*data[1], *needs))), seed)
        return Trained(self.plan.add(job), recipe, dataset, seed, checkpoint)


def _below(root: Path, folder: Path) -> str:
    return str(folder.relative_to(root))

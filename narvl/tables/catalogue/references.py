"""Beyond the paper: learning from people's texts alone, beside a teacher's texts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from narvl.models._config import middle_layer
from narvl.tables import plots
from narvl.tables.catalogue.texts import captions, diversity
from narvl.tables.figures import Figures
from narvl.tables.runs import DISTILLED, Runs, Trained
from narvl.tables.scales import METRIC, SCENES_UPDATES, Dataset
from narvl.tables.table import Entry, Values, compare, quality, speed, uneven, verdict

TITLE = "Beyond the paper: all references at once, without a teacher"
SEEDS = 3
NOTE = (
    "See docs/references.md. Only *all, from AR weights*, *distilled* and *AR* need an autoregressive model of their "
    "data set: the first starts from its weights, but learns people's texts; *distilled* is table 9's *on*. Of the "
    "others, on scenes captioners start from nothing, the rest from what stands for pretraining, with as many updates "
    "as teacher and student together; at the paper's scale all start from OFA. An update of *all* sees every reference "
    "of its images. T is the temperature; at 100 the loss is nearly the mean over references. *Its own texts, plain*: "
    "the self-conditioned model words the training images once, and a plain model goes on from its weights on those "
    "texts for as many updates as a distilled student; it has the form and the cost of one. *Glancing*, *5 codes* "
    "and *shortest first* are plugins of benchmarks/leads; they and *pairs at the end* are of the scenes' captions."
)


@dataclass(frozen=True)
class Way:
    """How a model learns.

    Attributes:
        run: its run's name.
        references: whether it sees all references at once.
        temperature: T.
        lenpen: to which power of their length references compete.
        intermediate: whether the middle layer learns as well.
        conditioned: whether, besides, the layers above read what that layer predicts.
        from_teacher: whether it starts from the autoregressive model's weights.
        own_texts: whether it is a plain model that goes on from the self-conditioned one, on that one's texts.
        pairs: whether its last quarter learns pairs of neighbouring tokens.
        lead: plugin of ``benchmarks/leads`` that changes how it learns.
    """

    run: str
    references: bool = True
    temperature: str = ""
    lenpen: str = ""
    intermediate: bool = False
    conditioned: bool = False
    from_teacher: bool = False
    own_texts: bool = False
    pairs: bool = False
    lead: str = ""

    @property
    def plugin(self) -> tuple[str, ...]:
        """Flags of the lead, in training and decoding alike."""
        return ("--user-dir", f"benchmarks/leads/{self.lead}") if self.lead else ()

    @property
    def update(self) -> str:
        """What ``benchmarks/speed/teacher_free.py`` calls an update of this kind; "" where it does not time it."""
        if self.lead or (self.pairs and not self.intermediate) or (self.conditioned and not self.references):
            return ""
        if self.pairs:
            return "pairs"
        if self.own_texts or not self.references:
            return "plain"
        return "self-conditioned" if self.conditioned else "intermediate" if self.intermediate else "all references"

    @property
    def decoder(self) -> str:
        """What answers: the paper's decoder, or one with more to do."""
        return "self-conditioned" if self.conditioned else "with codes" if self.lead == "codes" else "plain"

    def train(self, runs: Runs, dataset: Dataset, seed: int) -> Trained:
        """Declare the training."""
        if self.own_texts:
            return runs.student(dataset, seed, self.run, after=WAYS[_BEST].train(runs, dataset, seed))
        flags = list(self.plugin)
        middle = str(middle_layer(runs.scale.sizes[runs.scale.base].recipe))
        if self.temperature:
            flags += ["--reference-temperature", self.temperature]
        if self.lenpen:
            flags += ["--reference-lenpen", self.lenpen]
        if self.pairs:
            flags += ["--pairs-after", str(_PAIRS_AFTER)]
        if self.intermediate or self.conditioned:
            flags += ["--intermediate-layers", middle]
        if self.conditioned:
            flags += ["--self-conditioned-layers", middle]
        return runs.student(
            dataset,
            seed,
            # Where all start from OFA, one reference without more is table 9's model.
            "narvl-undistilled" if self == _PLAIN and not runs.scale.teacher_free else self.run,
            tuple(flags),
            distil=False,
            all_references=self.references,
            teacher_free=not self.from_teacher,
            from_teacher=self.from_teacher,
        )


_PAIRS_AFTER = -(-3 * SCENES_UPDATES // 4)
_ONE, _ALL, _MIDDLE = "one at a time", "all", "all, intermediate"
_PAIRS = "all, intermediate, pairs at the end"
_BEST, _PLAIN_AGAIN = "all, self-conditioned", "its own texts, plain"
_PLAIN = Way("narvl-teacher-free", references=False)
#: By row.
WAYS = {
    _ONE: _PLAIN,
    "one at a time, self-conditioned": Way("narvl-teacher-free-conditioned", references=False, conditioned=True),
    "all, mean (T = 100)": Way("narvl-references-mean", temperature="100"),
    _ALL: Way("narvl-references"),
    "all, T = 0.1": Way("narvl-references-hard", temperature="0.1"),
    _MIDDLE: Way("narvl-references-intermediate", intermediate=True),
    "all by the token, intermediate": Way("narvl-references-token", lenpen="1", intermediate=True),
    _BEST: Way("narvl-references-conditioned", conditioned=True),
    _PLAIN_AGAIN: Way("narvl-references-own-texts", own_texts=True),
    "all, from AR weights": Way("narvl-references-warm", from_teacher=True),
}
#: What else was tried, beside "all", for captions of the scenes alone.
LEADS = {
    "all, glancing": Way("narvl-references-glancing", lead="glancing"),
    "all, 5 codes": Way("narvl-references-codes", lead="codes"),
    "all, shortest first": Way("narvl-references-short-first", lead="short_first"),
    "all, pairs at the end": Way("narvl-references-pairs", pairs=True),
    _PAIRS: Way("narvl-references-middle-pairs", intermediate=True, pairs=True),
}
#: To each row that is timed the start of its way to decode.
_TIMED = {"AR": "AR beam 5, fairseq", _ONE: "parallel", _BEST: "parallel"}
_NOTHING: dict[str, float] = {}  # in the paper
#: Share of the distilled model's figure that counts as closing the gap.
_ENOUGH = 0.95


def entries(runs: Runs, seeds: Sequence[int]) -> list[Entry]:
    """Declare a model a way of learning, and the distilled and the autoregressive one; those of one seed are timed."""
    found = []
    for task in DISTILLED:
        dataset = runs.scale.dataset(task)
        ways = {**WAYS, **(LEADS if task == "captioning" and runs.scale.weights is None else {})}
        for seed in seeds:
            models = {way: how.train(runs, dataset, seed) for way, how in ways.items()}
            models |= {"distilled": runs.student(dataset, seed), "AR": runs.teacher(dataset, seed)}
            plugins = {way: how.plugin for way, how in ways.items()}
            found += [
                _entry(runs, f"{dataset.name}: {way}", model, plugins.get(way, ())) for way, model in models.items()
            ]
            if seed == seeds[0]:
                timed = runs.timed(f"references-{dataset.name}", {way: models[way] for way in _TIMED})
                rows = {(way, how): (f"{dataset.name}: {way}", _NOTHING) for way, how in _TIMED.items()}
                found += speed(timed, rows)
    return found


def _entry(runs: Runs, row: str, model: Trained, flags: tuple[str, ...]) -> Entry:
    """Score a model, decoded with some flags; of captions, their diversity as well."""
    scored = quality(runs, row, model, flags=flags)
    if model.dataset.task != "captioning":
        return scored
    decoded = runs.decoded(model, next(iter(model.dataset.splits)), flags=flags)

    def read() -> Values:
        texts = diversity(said for said, _ in captions(decoded))
        return {**scored.read(), "distinct-2 (%)": texts["distinct-2 (%)"]}

    return replace(scored, read=read)


def claims(figures: Figures) -> list[str]:
    """Compare each part with what is there without it, and what they reach with distillation."""
    said = []
    for name in dict.fromkeys(row.partition(":")[0] for row in figures.rows):
        ways = (_ONE, _ALL, _MIDDLE, _PAIRS, _BEST, _PLAIN_AGAIN, "distilled")
        one, every, middle, pairs, best, plain, distilled = (f"{name}: {way}" for way in ways)
        for metric in _metrics(figures):
            if not figures.of(best, metric):
                continue
            steps = {
                "all references are above one at a time": (every, one),
                "the middle layer's loss lifts them": (middle, every),
                "feeding its prediction back lifts that": (best, middle),
            }
            if figures.of(pairs, metric):
                steps["pairs at the end lift the middle layer's loss"] = (pairs, middle)
                steps["with pairs at the end they are above distillation"] = (pairs, distilled)
            for claim, (higher, lower) in steps.items():
                said.append(compare(f"{name}: {claim}", figures, metric, higher, lower))
            reached = {
                "all references reach": every,
                "with the middle layer's loss they reach": middle,
                **({"with pairs at the end they reach": pairs} if figures.of(pairs, metric) else {}),
                "with its prediction fed back they reach": best,
                "a plain model on those texts reaches": plain,
            }
            for claim, row in reached.items():
                said.append(_reached(f"{name}: {claim} {_ENOUGH:.0%} of distillation", figures, metric, row, distilled))
    return said


def _reached(claim: str, figures: Figures, metric: str, row: str, distilled: str) -> str:
    """Say whether a row reaches enough of what the distilled one has; of both, the mean over common seeds is told."""
    ours, limits = figures.values(row, metric), figures.values(distilled, metric)
    both = [seed for seed in ours if seed in limits]
    if not both:
        return verdict(claim, {}, metric)
    means = [statistics.fmean(values[seed] for seed in both) for values in (ours, limits)]
    above = {seed: ours[seed] - _ENOUGH * limits[seed] for seed in both}
    amount = f"{means[0]:.1f} against {means[1]:.1f} {metric}"
    return verdict(claim, above, metric, amount, uneven(figures, metric, row, distilled))


def draw(figures: Figures) -> plots.Drawing:
    """Draw quality by row."""
    return plots.bars(figures, _metrics(figures))


def _metrics(figures: Figures) -> list[str]:
    return [metric for metric in figures.metrics if metric.startswith((*METRIC.values(), "faithful"))]

"""Every table at both scales: what it runs can be run, says what the paper says, and is read as it was written."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from narvl.cli import build_parser, main
from narvl.errors import DataError
from narvl.provenance import provenance
from narvl.tables import latency_model, scales
from narvl.tables.catalogue import TABLES, propagation, texts
from narvl.tables.estimate import CPU_RATE, backbone_cost, training_cost, transformer_cost
from narvl.tables.figures import Figure, Figures
from narvl.tables.job import ROOT, Job
from narvl.tables.recipes import training_flags
from narvl.tables.record import portable_commands
from narvl.tables.runs import Runs
from narvl.tables.table import Entry

#: The paper's settings (queries, epochs, batch, learning rate, warm-up, smoothing, side), by task.
PAPER = {
    "captioning": (20, 5, 128, 1e-5, 0.06, 0.1, 480),
    "vqa": (6, 10, 512, 5e-5, 0.04, 0.1, 480),
    "grounding": (5, 10, 128, 5e-5, 0.06, 0.1, 512),
    "entailment": (2, 5, 256, 5e-5, 0.06, 0.0, 480),
}


def all_runs(scale: scales.Scale, seeds: int = 1) -> tuple[Runs, dict[str, list]]:
    runs = Runs(scale, ROOT / "runs" / "tables" / scale.name)
    return runs, {name: table.entries(runs, range(1, seeds + 1)) for name, table in TABLES.items()}


SCALES = {"scenes": scales.scenes(), "paper": scales.paper(ROOT / "data", ROOT / "weights")}
PLANS = {name: all_runs(scale) for name, scale in SCALES.items()}


@pytest.mark.parametrize("scale", SCALES)
def test_every_table_declares_rows_and_runs(scale: str) -> None:
    runs, tables = PLANS[scale]
    for name, entries in tables.items():
        assert entries, name
        for entry in entries:
            assert entry.jobs and all(runs.plan[job.name] == job for job in entry.jobs)
        assert TABLES[name].claims(Figures([])) is not None, "claims can be asked for before anything ran"
    trained = [job for job in runs.plan if job.kind == "train"]
    # Word 4 is where the training is saved: its name.
    alike = {
        tuple(command[:3] + command[4:] for command in job.commands if "train.sh" in command[0]) for job in trained
    }
    assert len(alike) == len(trained), "no training is run twice under two names"


def test_more_seeds_are_more_trainings_of_the_same_kinds() -> None:
    one, three = (all_runs(SCALES["scenes"], seeds)[0] for seeds in (1, 3))
    kinds = {job.name.replace("seed1", "seed") for job in one.plan}
    more = {job.name.replace(f"seed{seed}", "seed") for job in three.plan for seed in (1, 2, 3)}
    assert kinds <= more and len(three.plan) > 2 * len(one.plan)


def commands(scale: str) -> list[tuple[Job, tuple[str, ...]]]:
    return [(job, command) for job in PLANS[scale][0].plan for command in job.commands]


def without_plugin(words: list[str]) -> list[str]:
    """The command without ``--user-dir``, which must be a plugin: to parse it would change narvl for other tests."""
    if "--user-dir" not in words:
        return words
    place = words.index("--user-dir")
    assert (ROOT / words[place + 1] / "__init__.py").is_file()
    return [*words[:place], *words[place + 2 :]]


@pytest.mark.parametrize("scale", SCALES)
def test_every_command_passes_its_parser(scale: str) -> None:
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import narvl  # noqa: F401  (registers)

    checked = set()
    for job, (program, *words) in commands(scale):
        if program == "narvl":
            build_parser().parse_args(words)
        elif program == "run_scripts/train.sh":
            recipe, _, _, *flags = without_plugin(words)
            key = (recipe, tuple(flag for flag in flags if "seed" not in flag and not flag.isdigit()))
            if key in checked:
                continue
            checked.add(key)
            planned = [] if scale == "scenes" else ["--total-num-update", "9"]  # by train.sh, from the data
            argv = ["DATA", *training_flags(recipe), *flags, *planned]
            cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), argv))
            assert cfg.common.seed == job.seed
        elif program == "run_scripts/evaluate.sh":
            argv = ["DATA", "--path", words[1], "--task", words[0].partition("/")[0], *without_plugin(words)[5:]]
            options.parse_args_and_arch(options.get_generation_parser(), argv)
        elif program == "run_scripts/distill.sh":
            assert training_flags(words[0]), "there is such a recipe"
        else:
            assert program == "python" and words[:1] == ["-m"]
    assert len(checked) > 10


def flags_of(words: tuple[str, ...]) -> dict[str, str]:
    return {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}


def recipe_numbers(recipe: str) -> tuple[str, str]:
    script = 'source run_scripts/env.sh; load_recipe "$1"; echo "$effective_batch $warmup_ratio"'
    done = subprocess.run(["bash", "-c", script, "bash", recipe], cwd=ROOT, capture_output=True, text=True, check=True)
    batch, ratio = done.stdout.split()
    return batch, ratio


def test_the_papers_table_1_trains_with_the_papers_settings() -> None:
    runs, tables = PLANS["paper"]
    jobs = {entry.jobs[0] for entry in tables["table1"] if entry.jobs[0].kind == "train"}
    assert len(jobs) == 12
    for job in jobs:
        _, recipe, _, _, *more = job.commands[0]
        task, _, model = recipe.partition("/")
        queries, epochs, batch, rate, ratio, smoothing, side = PAPER[task]
        flags = {**flags_of(training_flags(recipe)), **flags_of(tuple(more))}
        assert int(flags["--max-epoch"]) == (12 if job.name.startswith("refcocog") else epochs)
        assert float(flags["--lr"]) == rate and float(flags["--label-smoothing"]) == smoothing
        assert int(flags["--patch-image-size"]) == side and recipe_numbers(recipe) == (str(batch), str(ratio))
        assert ("--num-queries" in flags) == model.startswith("narvl")
        assert int(flags.get("--num-queries", queries)) == queries
        assert model.endswith("_base")
        start = flags["--finetune-from-model"]
        distilled = model.startswith("narvl") and task in ("captioning", "vqa")
        assert ("/ofa/seed" in start) if distilled else start == "weights/ofa_base.pt"


def test_the_papers_grid_of_table_10_is_one_epoch_each() -> None:
    _, tables = PLANS["paper"]
    trained = [entry.jobs[0].commands[0] for entry in tables["table10"] if entry.jobs[0].kind == "train"]
    grid = {flags_of(words)["--num-queries"]: flags_of(words)["--max-epoch"] for words in trained}
    assert grid == dict.fromkeys(("10", "20", "100", "500", "1000"), "1")


@pytest.mark.parametrize("scale", SCALES)
def test_all_candidates_are_those_of_the_data(scale: str) -> None:
    runs, tables = PLANS[scale]
    first, *_, timed = (entry for entry in tables["table1"] if entry.row == "vqa AR, all candidates")
    (path,) = {flags_of(command)["--candidates"] for job in (*first.jobs[1:], *timed.jobs) for command in job.commands}
    assert path.endswith("data/vqa/candidates.txt")
    assert all(flags_of(job.commands[0])["--candidate-search"] == "all" for job in first.jobs[1:])
    assert timed.paper["ms"] == 15_415 and first.paper["accuracy test-std"] == 78.1


@pytest.mark.parametrize("table", ["table10", "queries"])
def test_captions_of_scenes_have_queries_enough_to_be_said(table: str) -> None:
    """Of fewer than the words and `</s>` of a teacher's caption, training rightly makes an error."""
    needed = len("from left to right a red ring and a blue cross </s>".split())
    _, tables = PLANS["scenes"]
    trained = [job for entry in tables[table] for job in entry.jobs if job.kind == "train" and "caption" in job.name]
    numbers = {int(flags_of(job.commands[0])["--num-queries"]) for job in trained}
    assert min(numbers) == needed and {20} < numbers
    others = [job for entry in tables["queries"] for job in entry.jobs if job.kind == "train" and "vqa" in job.name]
    assert min(int(flags_of(job.commands[0])["--num-queries"]) for job in others) == 10


@pytest.mark.parametrize("scale", SCALES)
def test_own_texts_are_those_of_the_self_conditioned_model(scale: str) -> None:
    runs, tables = PLANS[scale]
    plain = [entry.jobs[0] for entry in tables["references"] if "its own texts" in entry.row]
    assert [job.name.split("/")[1] for job in plain] == ["narvl-references-own-texts"] * len(plain) and plain
    for job in plain:
        taught = runs.plan[next(need for need in job.needs if need.endswith("-distilled"))]
        (command,) = taught.commands
        teacher = runs.plan[next(need for need in taught.needs if "conditioned" in need)]
        assert command[0].endswith("distill.sh") and "--self-conditioned-layers" in teacher.commands[0]
        words = job.commands[0]
        assert command[2] == flags_of(words)["--finetune-from-model"] and command[4] == words[2]
        assert "--self-conditioned-layers" not in words and "/ofa/" not in " ".join(words)


def test_the_dry_run_prints_every_command_with_an_estimate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["tables", "all", "--scale", "paper", "--dry-run", "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    trainings = [line for line in lines if " hours of an A100, " in line]
    assert len(trainings) == len([job for job in PLANS["paper"][0].plan if job.kind == "train"])
    assert sum(line.startswith("run_scripts/train.sh ") for line in lines) == len(trainings)
    assert "GPU hours" in lines[-1]


def test_the_list_tells_how_far_each_table_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["tables", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in TABLES) and "0 of" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["table99"], "no table table99. There are: table1"),
        (["table1", "--seeds", "0"], "--seeds 0: give at least 1"),
        (["table1", "--jobs", "0"], "--jobs 0: give at least 1"),
        (["table1", "--job", "nothing"], "--job nothing: these tables have no such run"),
        (
            ["table1", "--job", "vqa/ofa/seed1"],
            "--job vqa/ofa/seed1: it needs data/vqa, pretrained/nano, which have not",
        ),
    ],
)
def test_wrong_flags_are_named(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["tables", *flags, "--runs", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_the_estimate_counts_what_torch_counts(size: str) -> None:
    from argparse import Namespace

    import torch
    from fairseq.data import Dictionary
    from torch.utils.flop_counter import FlopCounterMode

    from narvl.data.vocabulary import Vocabulary  # noqa: F401  (the task's import order)
    from narvl.models._config import PRESETS, NARVLConfig
    from narvl.models.narvl import NARVLModel

    dictionary = Dictionary()
    for number in range(96):
        dictionary.add_symbol(f"w{number}")
    cfg = NARVLConfig(**PRESETS[size], num_queries=6)
    model = NARVLModel.build_model(cfg, Namespace(target_dictionary=dictionary)).eval()
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = model.encoder.embed_images(images)
    flops, outputs = backbone_cost(PRESETS[size], 128)
    assert flops == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert outputs > features.numel()
    counted, weights = transformer_cost(PRESETS[size], 64 + 20, 6, len(dictionary))
    layers = [*model.encoder.layers, *model.decoder.layers]
    linear = sum(p.numel() for layer in layers for p in layer.parameters() if p.dim() == 2)
    assert weights == linear
    assert counted > 2 * 84 * sum(p.numel() for p in model.encoder.layers.parameters() if p.dim() == 2)


def test_the_estimate_is_near_what_trainings_took() -> None:
    """Seconds in the job.json of three seeds each, on two cores that other work kept partly busy."""
    took = {
        "captioning/ofa/seed1": 886 + 887 + 1280,
        "vqa/narvl/seed1": 365 + 340 + 332,
        "grounding/narvl/seed1": 521 + 500 + 433,
        "entailment/ofa/seed1": 224 + 230 + 347,
    }
    runs, _ = PLANS["scenes"]
    costs = [training_cost(runs.plan[name], runs.scale) for name in took]
    estimated = sum(3 * 3600 * cost.hours(CPU_RATE) for cost in costs if cost is not None)
    assert estimated == pytest.approx(sum(took.values()), rel=0.25)


def test_scales_hold_nothing_that_is_not_read() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "narvl").rglob("*.py"))
    unread = [field.name for field in fields(scales.Scale) if not re.search(rf"\bscale\.{field.name}\b", code)]
    assert [name for name in unread if f"self.{name}" not in code] == []


def test_only_trainings_are_estimated() -> None:
    runs, _ = PLANS["scenes"]
    for job in runs.plan:
        cost = training_cost(job, runs.scale)
        assert (cost is None) == (job.kind != "train")
        assert cost is None or (cost.samples > 0 and cost.flops > 1e7 and cost.memory > 1e6)


def test_diversity_counts_words_and_pairs() -> None:
    found = texts.diversity(["a b a b", "a b", "a b"])
    assert found["words"] == 2 and found["distinct-1 (%)"] == 25.0
    assert found["distinct-2 (%)"] == 40.0 and round(found["different texts (%)"]) == 67


def test_claims_of_propagation_compare_slopes() -> None:
    def slope(name: str, value: float, seed: int) -> Figure:
        return Figure(f"{name}, all boxes", "slope", "", str(value), "", str(seed), "c", "m", "1", "d", "x")

    figures = Figures([slope("AR", 0.5, 1), slope("NAR", 0.2, 1), slope("AR", 0.6, 2), slope("NAR", 0.2, 2)])
    assert "held (+35.0" in propagation.claims(figures)[0]


def test_teacher_free_models_have_the_updates_of_teacher_and_student() -> None:
    def updates(flags: tuple[str, ...]) -> int:
        return int(flags[flags.index("--max-update") + 1])

    for task, flags in SCALES["scenes"].teacher_free.items():
        both = [updates(training_flags(f"{task}/{family}_nano")) for family in ("ofa", "narvl")]
        assert updates(flags) == sum(both) and flags[flags.index("--total-num-update") + 1] == str(sum(both))


def test_partial_figures_of_the_references_are_judged() -> None:
    """Runs fail one by one: claims are of the seeds that both sides have."""
    from narvl.tables.catalogue import references

    def figure(row: str, value: str, seed: str) -> Figure:
        return Figure(row, "CIDEr", "", value, "", seed, "", "", "", "", "")

    ours, theirs = "captioning: all, self-conditioned", "captioning: distilled"
    figures = [figure(ours, "96", "1"), figure(ours, "90", "2"), figure(theirs, "100", "1")]
    *_, reached, plain = references.claims(Figures(figures))
    assert "with its prediction fed back they reach 95% of distillation: so in the one seed that both have" in reached
    assert reached.endswith("(96.0 against 100.0 CIDEr of seed 1).")
    assert plain.endswith("a plain model on those texts reaches 95% of distillation: not run.")
    assert references.claims(Figures(figures[:1]))


def test_publishing_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")]
    assert main(["tables", "table8", "--publish", *folders]) == 0
    assert "table8" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "nothing ran, and nothing is published over what there may be"


def test_a_record_of_other_commands_stops_its_table_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")]
    monkeypatch.setattr(texts, "entries", lambda runs, _: [made(runs, "old")])
    monkeypatch.setattr(TABLES["blank"], "entries", lambda runs, _: [made(runs, "new")])

    def made(runs: Runs, name: str) -> Entry:
        return Entry("A", (runs.plan.add(Job(name, "decode", (("true",),), seed=1)),), lambda: {"CIDEr": 1.0})

    for name, command in {"old": "false", "new": "true"}.items():
        record = {"commands": [[command]], "seconds": 1.0, "attempts": 1, "provenance": provenance(1, [command])}
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "job.json").write_text(json.dumps(record))
    two = ["tables", "supplement-table1", "blank"]
    assert main([*two, "--publish", *folders]) == 2
    told = capsys.readouterr()
    assert "supplement-table1: " in told.err and "made by other commands" in told.err and "blank: " not in told.err
    assert [path.name for path in (tmp_path / "out").glob("*.csv")] == ["blank.csv"]
    assert main([*two, "--dry-run", *folders]) == 2
    told = capsys.readouterr()
    assert "# new (done)" in told.out and "# old\n" in told.out and "# 2 runs, 1 of them done; " in told.out
    assert "made by other commands" in told.err
    assert main(["tables", *folders]) == 2
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["supplement-table1"].endswith("unknown") and rows["blank"].endswith("1 of 1")


def test_a_total_leaves_out_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    totals = []
    for done in (False, True):
        if done:
            runs = Runs(SCALES["scenes"], tmp_path)
            job = runs.teacher(SCALES["scenes"].dataset("captioning"), 1).job
            (tmp_path / job.name).mkdir(parents=True)
            record = {"commands": portable_commands(tmp_path, job)}
            (tmp_path / job.name / "job.json").write_text(json.dumps(record))
        assert main(["tables", "supplement-table1", "--dry-run", "--runs", str(tmp_path)]) == 0
        totals.append(capsys.readouterr().out.splitlines()[-1])
    assert "about 0.0 hours" in totals[1] and "about 0.0 hours" not in totals[0] and "1 of them done" in totals[1]


def test_latency_is_predicted_where_it_follows_the_equations() -> None:
    import numpy as np

    random = np.random.default_rng(0)
    points = []
    for flops, weights, samples, passes in random.uniform((1e9, 1e8, 1e7, 6), (1e12, 1e10, 1e9, 200), (40, 4)):
        ms = flops / 1e9 / 0.2 + weights / 1e9 / 0.03 + samples / 1e9 / 0.005 + 0.5 * passes + 7
        part = latency_model.Point(flops, weights, samples, passes, float(ms * random.uniform(0.97, 1.03)))
        encoder = replace(part, flops=flops / 2, ms=part.ms - flops / 2e9 / 0.2)
        points.append(latency_model.Decoded(encoder, part, batch=1 + len(points) % 2))
    found = latency_model.check(*latency_model.split(points, 1))
    for part in ("encoder", "decoder", "whole"):
        assert found[part]["held-back points"] == 20 and found[part]["within 20% (%)"] == 100
        assert found[part]["largest error (%)"] < 12
    assert found["decoder"]["GFLOP/s"] == pytest.approx(200, rel=0.05) == found["encoder"]["GFLOP/s"]
    assert found["decoder"]["GB/s of weights"] == pytest.approx(30, rel=0.2)
    fitted, held_back = latency_model.split(points, 1)
    assert len(fitted) == len(held_back) == 20 and not set(map(id, fitted)) & set(map(id, held_back))
    fitted, held_back = latency_model.leave_out(points, batch=1)
    assert {point.batch for point in fitted} == {2} and {point.batch for point in held_back} == {1}


def test_points_join_measurements_and_work(tmp_path: Path) -> None:
    part = {"flops": 2e9, "fixed_bytes": 1e8, "sample_bytes": 1e6}
    floor = {
        "cells": {
            "nano 64 vqa": {
                "parts": {"encoder": part},
                "decoders": {name: {"decoder": part} for name in latency_model.DECODINGS},
            }
        }
    }
    rows = [
        {"decoding": "AR beam 5, fairseq", "decoder_ms": 30.0, "encoder_ms": 10.0},
        {"decoding": "NARVL greedy", "decoder_ms": 3.0, "encoder_ms": 11.0},
        {"decoding": "something else", "decoder_ms": 3.0, "encoder_ms": 11.0},
    ]
    cell = {"size": "nano", "side": 64, "task": "vqa", "batch": 4, "answer": 2, "rows": rows}
    files = [tmp_path / "latency.json", tmp_path / "floor.json"]
    for path, record in zip(files, ({"cells": {"x": cell}}, floor), strict=True):
        path.write_text(json.dumps(record))
    points = latency_model.read_points(*files)
    ((beam,), (narvl,)) = (points[name] for name in ("AR beam 5, fairseq", "NARVL greedy"))
    assert beam.decoder == latency_model.Point(8e9, 1e8, 4e6, 6, 30.0), "3 steps of 2 layers"
    assert (narvl.decoder.passes, narvl.encoder.passes, narvl.encoder.ms) == (2, 2, 11.0)
    del floor["cells"]["nano 64 vqa"]["decoders"]["NARVL greedy"]
    files[1].write_text(json.dumps(floor))
    with pytest.raises(
        DataError, match=r"floor.json: no work of nano 64 vqa, NARVL greedy\. Count all anew: .*--fresh"
    ):
        latency_model.read_points(*files)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        build_parser().parse_args(["tables", "--help"])
    assert "narvl tables all --scale paper --dry-run" in out.getvalue()
    assert isinstance(build_parser(), argparse.ArgumentParser)


def test_claims_of_predicted_latency_are_of_all_ways_to_decode() -> None:
    from narvl.tables.catalogue import theory

    def figures(row: str, within: str, worst: str) -> list[Figure]:
        values = {"within 20% (%)": within, "largest error (%)": worst}
        return [Figure(row, name, "", value, "", "1", "", "", "", "", "") for name, value in values.items()]

    rows = [*figures("A: decoder", "100", "12"), *figures("B: decoder", "75", "31")]
    rows += figures("A: whole, batch 1 unseen", "100", "15")
    decoders, unseen = theory.claims(Figures(rows))
    assert decoders == (
        "Decoders alone, by the way to decode: 75 to 100% of the held-back points within 20%, the worst 31% off."
    )
    assert unseen.endswith(
        "single images predicted from larger batches: 100% of the held-back points within 20%, the worst 15% off."
    )

"""Each command at its smallest, in this process: the results file, its plot, its tables, and wrong arguments."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hardening_tables
import pytest
import records
import speed_tables
import torch

import encoder
import floor
import generation
import latency
import loading
import loss
import references
import teacher_free
import training
from kit import plots

PLOTS = importlib.util.find_spec("matplotlib") is not None
COMMANDS = ("floor", "encoder", "latency", "loss", "references", "teacher_free", "training", "loading", "generation")


def measure(module: Any, out: Path, *flags: object) -> dict[str, Any]:
    """Run a command and return its results file."""
    assert module.main([*map(str, flags), "--out", str(out)]) == 0
    record: dict[str, Any] = json.loads(out.read_text())
    assert record["provenance"]["seed"] == 1
    assert record["settings"]["threads"] >= 1
    assert all(cell["commit"] and cell["date"] for cell in record["cells"].values())
    return record


def table_of(section: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(records, "RESULTS", folder)
    return {**speed_tables.SECTIONS, **hardening_tables.SECTIONS}[section]()


def refused(module: Any, capsys: pytest.CaptureFixture[str], flags: Sequence[object]) -> str:
    """Run a command that must fail as one line, and return it."""
    assert module.main(list(map(str, flags))) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ": error: " in err
    return err


def test_floor(tmp_path: Path) -> None:
    flags = ("--sizes", "nano", "--sides", 64, "--tasks", "vqa")
    [cell] = measure(floor, tmp_path / "floor.json", *flags)["cells"].values()
    ours, greedy, beam = "NARVL greedy", "AR greedy, optimised", "AR beam 5, optimised"
    assert cell["floor_ms"][ours] < cell["floor_ms"][greedy] <= cell["floor_ms"][beam]
    assert cell["floor_ms"][beam] < cell["floor_ms"]["AR beam 5, fairseq"]
    assert cell["parts"]["backbone"]["flops"] > 0


def test_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--sizes", "tiny", "--sides", 64, "--rounds", 2)
    [cell] = measure(encoder, tmp_path / "speed_encoder.json", *flags)["cells"].values()
    assert [row["encoder"] for row in cell["rows"]] == ["plain", "ours", "ours, prepared for inference"]
    assert all(row["difference"] < 1e-3 and row["median_ms"] > 0 for row in cell["rows"])
    assert "tiny, 64 px, batch 1: plain" in table_of("speed-encoder", tmp_path, monkeypatch)


def test_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed_latency.json"
    flags = ["--sizes", "nano", "--sides", 64, "--tasks", "vqa", "grounding", "--batches", 2, "--rounds", 3]
    record = measure(latency, out, *flags)
    cells = record["cells"]
    assert list(cells) == ["nano 64 vqa 2", "nano 64 grounding 2"]
    names = [row["name"] for row in cells["nano 64 vqa 2"]["rows"]]
    assert names[:2] == ["ar5-fairseq-trained", "ar5-fairseq"] and {"narvl", "narvl-ctc5"} <= set(names)
    assert "narvl-ctc5" not in [row["name"] for row in cells["nano 64 grounding 2"]["rows"]], "no paths to search"
    for row in cells["nano 64 vqa 2"]["rows"]:
        assert row["samples"] == len(row["rounds_ms"]) == 3
        assert row["median_ms_q1"] <= row["median_ms"] <= row["median_ms_q3"]
        assert 0 < row["encoder_ms"] < row["median_ms"]
        assert row["decoder_floor_ms"] > 0 and row["gflops"] > 0
    assert out.with_suffix(".svg").is_file() == PLOTS

    text = table_of("speed-latency", tmp_path, monkeypatch)
    assert "vqa, nano, 64 px, batch 2" in text and "Source: [results/speed_latency.json]" in text

    before = out.read_text()
    assert latency.main([*map(str, flags), "--out", str(out)]) == 0
    assert out.read_text() == before, "what was measured is kept"
    capsys.readouterr()
    message = refused(latency, capsys, [*flags, "--dtype", "bfloat16", "--out", out])
    assert "--fresh" in message and "float32" in message


@pytest.mark.slow
def test_compiled_latency(tmp_path: Path) -> None:
    flags = (
        "--sizes",
        "nano",
        "--sides",
        64,
        "--tasks",
        "vqa",
        "--rounds",
        3,
        "--decoders",
        "narvl",
        "--inference-compile",
        "default",
    )
    record = measure(latency, tmp_path / "speed_latency.json", *flags)
    assert record["settings"]["compiled"] == "default"
    assert record["cells"]["nano 64 vqa 1"]["rows"][0]["encoder_ms"] > 0, "the encoder is timed apart"


@pytest.fixture()
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the processes in which memory is measured: their imports take longer than all else."""
    for module in (loss, training):
        monkeypatch.setattr(module, "in_fresh_process", lambda function, *arguments: function(*arguments))


@pytest.mark.usefixtures("one_process")
def test_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--queries", 6, "--batches", 2, "--vocabulary", 300, "--smoothings", 0.1, "--rounds", 3)
    record = measure(loss, tmp_path / "speed_loss.json", *flags)
    [cell] = record["cells"].values()
    assert cell["logits_bytes"] == 2 * 6 * 300 * 4
    assert cell["floor_ms"] > 0
    assert [row["loss"] for row in cell["rows"]] == list(loss.LOSSES)
    assert all(row["gradient_difference"] < 1e-4 for row in cell["rows"])
    assert all(row["peak_bytes"] >= 0 for row in cell["rows"])
    assert "N 6, batch 2" in table_of("speed-loss", tmp_path, monkeypatch)


def test_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--references", 3, "--batches", 2, "--queries", 8, "--vocabulary", 300, "--rounds", 3)
    [cell] = measure(references, tmp_path / "speed_references.json", *flags)["cells"].values()
    assert [row["name"] for row in cell["rows"]] == ["separate", "together", "one reference"]
    assert all(row["samples"] == 3 for row in cell["rows"])
    assert "3 references, N 8, batch 2: together" in table_of("speed-references", tmp_path, monkeypatch)


def test_teacher_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--sizes", "nano", "--sides", 32, "--batches", 1, "--rounds", 2)
    [cell] = measure(teacher_free, tmp_path / "speed_teacher_free.json", *flags)["cells"].values()
    assert [row["way"] for row in cell["updates"]] == list(teacher_free.WAYS)
    assert [row["way"] for row in cell["answers"]] == ["plain", "self-conditioned"]
    for what, rounds in (("updates", 2), ("answers", 4)):
        assert all(row["rounds"] == rounds and row["ms"]["median"] > 0 for row in cell[what])
    assert all(row["cost"]["median"] > 0 for row in cell["updates"])
    assert "nano, 32 px, batch 1: self-conditioned" in table_of("speed-teacher-free", tmp_path, monkeypatch)


def test_each_way_has_its_settings() -> None:
    found = {way: teacher_free.settings(way, "base") for way in teacher_free.WAYS}
    assert found["plain"] == found["all references"] == ({}, {})
    assert found["intermediate"] == ({}, {"intermediate_layers": [3]})
    assert found["pairs"] == ({}, {"intermediate_layers": [3], "pairs_after": 1})
    assert found["self-conditioned"] == ({"self_conditioned_layers": [3]}, {"intermediate_layers": [3]})
    batches = [teacher_free.batch_for(way, 2, 32, torch.device("cpu"), 1) for way in ("plain", "all references")]
    assert "references" not in batches[0] and batches[1]["references"]["tokens"].shape == (2, 5, 17)


@pytest.mark.usefixtures("one_process")
def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--sizes", "nano", "--sides", 32, "--batches", 1, "--rounds", 3)
    [cell] = measure(training, tmp_path / "speed_training.json", *flags)["cells"].values()
    assert [row["model"] for row in cell["rows"]] == ["AR", "NARVL"]
    for row in cell["rows"]:
        assert all(part["median"] > 0 for part in row["parts_ms"].values()) and row["median_ms"] > 0
        assert row["kept_bytes"] > 4 * 4 * 7_000_000, "weights, gradients and two moments"
    assert "nano, 32 px, batch 1: NARVL" in table_of("speed-training", tmp_path, monkeypatch)


def test_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--rows", 24, "--side", 32, "--photo", 64, 48, "--batch", 4, "--rounds", 1, "--large-rows", 3000)
    record = measure(loading, tmp_path / "speed_loading.json", *flags, "--workers", 0, 1, "--folder", tmp_path)
    workers, large = record["cells"].values()
    assert [row["workers"] for row in workers["rows"]] == [0, 1]
    assert all(row["rows_per_s"]["median"] > 0 for row in workers["rows"])
    assert large["rows"] == 3000
    assert large["lookups_per_s"] > 0 and large["first_batch_s"] > 0
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [], "the data are deleted"
    text = table_of("speed-loading", tmp_path, monkeypatch)
    assert "A TSV of 3,000 rows" in text and "64 x 48 JPEGs to 32 px" in text


@pytest.mark.slow
def test_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--sizes", "nano", "--side", 32, "--rows", 6, "--batch", 3, "--rounds", 1)
    [cell] = measure(generation, tmp_path / "speed_generation.json", *flags)["cells"].values()
    assert [row["decoder"] for row in cell["rows"]] == list(generation.commands())
    assert all(0 < row["outside_decoding"]["median"] < 1 for row in cell["rows"])
    assert "nano, 32 px, batch 3: NARVL greedy" in table_of("speed-generation", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("module", "flags", "named"),
    [
        (latency, ["--inference-compile", "cuda-graphs"], "--inference-compile cuda-graphs"),
        (latency, ["--inference-compile", "default", "--dtype", "int8"], "--inference-precision int8"),
        (generation, ["--fp16"], "--fp16"),
        (generation, ["--rows", 8, "--batch", 8], "--rows 8"),
        (loading, ["--workers", 2, -1], "--workers -1"),
        (training, ["--out", "README.md/x.json"], "--out README.md/x.json"),
    ],
)
def test_wrong_arguments_name_themselves(
    module: Any, flags: list[object], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if module is training:  # the results file cannot be written: no need to train for it
        monkeypatch.setattr(training, "measure_cell", lambda *_: {"rows": []})
        flags = [*flags, "--sizes", "nano", "--batches", 1]
    assert named in refused(module, capsys, flags)


@pytest.mark.parametrize(
    ("flags", "named"),
    [(["--sizes", "giant"], "--sizes"), (["--batches", "0"], "--batches"), (["--dtype", "int3"], "--dtype")],
)
def test_the_parser_names_arguments(flags: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        latency.main(flags)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_and_read(command: str) -> None:
    module = importlib.import_module(command)
    source = Path(module.__file__).read_text() + "".join(
        path.read_text() for path in Path(module.__file__).parent.glob("kit/*.py")
    )
    for action in module.build_parser()._actions:
        assert action.help
        assert action.dest == "help" or f"args.{action.dest}" in source, f"{command} never reads {action.dest}"


def test_another_file_is_no_results_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text("[]")
    assert "x.json: no results file" in refused(loss, capsys, ["--out", tmp_path / "x.json"])


@pytest.mark.skipif(not PLOTS, reason="needs matplotlib")
def test_the_same_figures_give_the_same_plot(tmp_path: Path) -> None:
    row = {"decoding": "NARVL", "median_ms": 3.0, "encoder_ms": 2.0, "decoder_ms": 1.0, "gflops": 1.0}
    row |= {"encoder_floor_ms": 1.0, "decoder_floor_ms": 0.5}
    cells = [{"size": "nano", "side": 64, "batch": batch, "task": "vqa", "rows": [row]} for batch in (1, 4)]
    path = tmp_path / "latency.json"
    path.write_text(json.dumps({"cells": dict(enumerate(cells))}))
    drawn = []
    for _ in range(2):
        plots.draw("latency", path)
        drawn.append(path.with_suffix(".svg").read_text())
    assert drawn[0] == drawn[1]
    assert "NARVL" in drawn[0] or "<path" in drawn[0]


def test_without_matplotlib_the_figures_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps({"cells": {"a": {}}}))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    plots.draw("latency", path)
    assert "no plot: matplotlib is missing" in capsys.readouterr().err


def test_what_was_not_run_has_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = (*speed_tables.SECTIONS, *hardening_tables.SECTIONS)
    assert {table_of(section, tmp_path, monkeypatch) for section in sections} == {"Not run yet."}


def test_tables_of_hardening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"commit": "c0ffee", "seed": 1, "machine": {"cpu": "CPU", "cores": 2, "accelerator": "none"}}
    totals = [
        {"kind": "train", "stop": "SIGKILL", "tries": 4, "failures": 1},
        {"kind": "train", "stop": "full disk", "tries": 3, "failures": 0},
        {"kind": "prepare", "stop": "SIGKILL", "tries": 2, "failures": 0},
    ]
    targets = {"rows": {"examples": 2017, "seconds": 180.0, "outcomes": {"well": 9}, "unnamed_crashes": []}}
    trend = {"start": 540.3, "end": 541.0, "slope": 0.81, "error": 0.02}
    counts = {"updates": 10000, "epochs": 3, "validations": 4, "checkpoints": 5, "seconds": 600}
    for name, record in (
        ("interruptions", {"totals": totals}),
        ("fuzz", {"targets": targets}),
        ("long_run", {**counts, "trends": {"main_mb": trend}}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({**record, "provenance": made}))
    stopped = table_of("hardening-interruptions", tmp_path, monkeypatch)
    assert "1 of 9 stopped runs failed." in stopped
    assert [word for word in stopped.split("|") if " of " in word and "runs" not in word] == [
        *(" 1 of 4    ", " 0 of 3      ", " 0 of 2    ")
    ]
    assert "2,017" in table_of("hardening-fuzz", tmp_path, monkeypatch)
    assert "0.81" in table_of("hardening-long-run", tmp_path, monkeypatch)

"""Builds the README's tables of benchmarks/speed from its results files; what was not measured yet has no table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import records
from tabulate import tabulate

#: Results files beside the CPU's: the same measurement elsewhere.
_VARIANTS = ("", "_cuda", "_cuda_graphs")

# Columns of ratios to NARVL: autoregressive decoders, and what is said over them.
_README_SEARCHES = {
    "ar5-fairseq-trained": "AR beam 5, fairseq, model as trained",
    "ar5-fairseq": "AR beam 5, fairseq",
    "ar5-optimised": "AR beam 5, optimised",
    "ar1-optimised": "AR greedy, optimised",
}
_SEARCHES = {**_README_SEARCHES, "ar1-fairseq": "AR greedy, fairseq"}


def latency() -> str:
    """Build the tables of latency: one a file, a row a configuration."""
    return _tables("speed_latency", _latency_table)


def encoder() -> str:
    """Build the table of the encoder beside its plain twin."""
    return _tables("speed_encoder", _encoder_table)


def loss() -> str:
    """Build the table of the Q-CTC loss."""
    return _tables("speed_loss", _loss_table)


def references() -> str:
    """Build the table of the loss over several references."""
    return _tables("speed_references", _references_table)


def teacher_free() -> str:
    """Build the table of what learning without a teacher costs."""
    return _tables("speed_teacher_free", _teacher_free_table)


def costs_teacher_free(size: str, what: str) -> dict[str, str]:
    """Return how many times as long as plain ones the updates, or the answers, of each way take, of a size."""
    if not (records.RESULTS / "speed_teacher_free.json").is_file():
        return {}
    cells = records.read("speed_teacher_free")["cells"].values()
    rows = [row for cell in cells if cell["size"] == size for row in cell[what]]
    return {row["way"]: f"{row['cost']['median']:.2f}x" for row in rows}


def training() -> str:
    """Build the table of training steps."""
    return _tables("speed_training", _training_table)


def loading() -> str:
    """Build the table of data loading."""
    return _tables("speed_loading", _loading_table)


def generation() -> str:
    """Build the table of fairseq-generate from end to end."""
    return _tables("speed_generation", _generation_table)


def summary() -> str:
    """Build the README's table: base, one image at a time, on the CPU."""
    if not (records.RESULTS / "speed_latency.json").is_file():
        return "Not run yet."
    record = records.read("speed_latency")
    rows = []
    for cell in record["cells"].values():
        if (cell["size"], cell["batch"]) == ("base", 1):
            by_name = {row["name"]: row for row in cell["rows"]}
            narvl = by_name["narvl"]
            floor = narvl["encoder_floor_ms"] + narvl["decoder_floor_ms"]
            rows.append(
                [
                    f"{cell['task']}, {cell['side']} px",
                    f"{narvl['median_ms']:.0f}",
                    f"{_after_the_encoder(narvl):.1%}",
                    f"{narvl['median_ms'] / floor:.2f}x",
                    *_against(_README_SEARCHES, by_name),
                ]
            )
    headers = ["base, batch 1", "NARVL ms", "of the encoder's time", "of the floor"]
    headers += _README_SEARCHES.values()
    return f"{_table(headers, rows)}\n\n{_conditions(record['settings'])} {records.source('speed_latency', record)}"


SECTIONS: dict[str, Callable[[], str]] = {
    "speed": summary,
    "speed-latency": latency,
    "speed-encoder": encoder,
    "speed-loss": loss,
    "speed-references": references,
    "speed-teacher-free": teacher_free,
    "speed-training": training,
    "speed-loading": loading,
    "speed-generation": generation,
}


def _tables(name: str, build: Callable[[dict[str, Any]], str]) -> str:
    """Build a table for each of a measurement's files that exists, its source below and its plot's place beside."""
    found = []
    for variant in _VARIANTS:
        file = name + variant
        if not (records.RESULTS / f"{file}.json").is_file():
            continue
        record = records.read(file)
        plot = (
            f" Plot: [results/{file}.svg](results/{file}.svg)." if (records.RESULTS / f"{file}.svg").is_file() else ""
        )
        found.append(f"{build(record)}\n\n{_conditions(record['settings'])} {records.source(file, record)}{plot}")
    return "\n\n".join(found) or "Not run yet."


def _conditions(settings: dict[str, Any]) -> str:
    """Write a file's settings as a sentence."""
    said = [f"{key.replace('_', ' ')} {value}" for key, value in settings.items() if value not in (False, "none")]
    return f"Conditions: {', '.join(said)}."


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return median(one / two for one, two in zip(base, other, strict=True))


def _after_the_encoder(row: dict[str, Any]) -> float:
    """Return what comes after the encoder, as a share of the encoder's time: the median of the rounds' shares."""
    rounds = zip(row["rounds_ms"], row["encoder_rounds_ms"], strict=True)
    return median((whole - encoder) / encoder for whole, encoder in rounds)


def _against(searches: Iterable[str], rows: dict[str, Any]) -> list[str]:
    """Return how many times longer each search takes than NARVL; ``-`` where it was not timed."""
    narvl = rows["narvl"]["rounds_ms"]
    return [f"{_ratio(rows[name]['rounds_ms'], narvl):.2f}x" if name in rows else "-" for name in searches]


def _latency_table(record: dict[str, Any]) -> str:
    rows = []
    for cell in record["cells"].values():
        by_name = {row["name"]: row for row in cell["rows"]}
        narvl = by_name.get("narvl")
        if narvl is None:
            continue
        floor = narvl["encoder_floor_ms"] + narvl["decoder_floor_ms"]
        rows.append(
            [
                f"{cell['task']}, {cell['size']}, {cell['side']} px, batch {cell['batch']}",
                f"{narvl['median_ms']:.0f} ({narvl['median_ms_q1']:.0f}-{narvl['median_ms_q3']:.0f})",
                f"{narvl['encoder_ms']:.0f} + {narvl['decoder_ms']:.0f}",
                f"{_after_the_encoder(narvl):.1%}",
                f"{floor:.0f} ({narvl['median_ms'] / floor:.1f}x)",
                *_against(_SEARCHES, by_name),
            ]
        )
    headers = ["NARVL greedy", "ms (quartiles)", "encoder + decoder", "decoder to encoder", "floor ms (distance)"]
    headers += _SEARCHES.values()
    return (
        _table(headers, rows) + "\n\nMilliseconds are a batch's, medians; the last columns are how many times "
        "longer the AR decoder takes, end to end: medians of the ratios of rounds in which all took turns."
    )


def _encoder_table(record: dict[str, Any]) -> str:
    rows = [
        [
            f"{cell['size']}, {cell['side']} px, batch {cell['batch']}: {row['encoder']}",
            f"{row['median_ms']:.0f} ({row['median_ms_q1']:.0f}-{row['median_ms_q3']:.0f})",
            f"{row['speedup']:.2f}x",
            f"{cell['floor_ms']:.0f} ({row['median_ms'] / cell['floor_ms']:.1f}x)",
        ]
        for cell in record["cells"].values()
        for row in cell["rows"]
    ]
    return _table(["encoder", "ms (quartiles)", "faster", "floor ms (distance)"], rows) + (
        "\n\nThe plain encoder is written from the model's description in torch's eager operations."
    )


def _loss_table(record: dict[str, Any]) -> str:
    rows = []
    for cell in record["cells"].values():
        plain, *others = cell["rows"]
        for row in others:
            rows.append(
                [
                    f"N {cell['queries']}, batch {cell['batch']}, smoothing {cell['label_smoothing']}: {row['loss']}",
                    f"{plain['median_ms']:.1f}",
                    f"{row['median_ms']:.1f} ({row['median_ms_q1']:.1f}-{row['median_ms_q3']:.1f})",
                    f"{row['speedup']:.2f}x",
                    f"{cell['floor_ms']:.1f} ({row['median_ms'] / cell['floor_ms']:.1f}x)",
                    f"{plain['peak_bytes'] / 1e6:.0f}",
                    f"{row['peak_bytes'] / 1e6:.0f}",
                    f"{cell['logits_bytes'] / 1e6:.0f}",
                    f"{row['gradient_difference']:.0e}",
                ]
            )
    headers = ["Q-CTC, forward + backward", "plain ms", "ms (quartiles)", "faster", "floor ms (distance)", "plain MB"]
    return _table([*headers, "MB", "logits MB", "gradient's difference"], rows) + (
        "\n\nMB are the peak beyond the logits. The floor reads the logits twice and writes the gradient once. The "
        "gradient's difference is the largest one, as a share of the largest gradient."
    )


def _references_table(record: dict[str, Any]) -> str:
    rows = []
    for cell in record["cells"].values():
        separate, *others = cell["rows"]
        for row in others:
            rows.append(
                [
                    f"{cell['references']} references, N {cell['queries']}, batch {cell['batch']}: {row['name']}",
                    f"{separate['median_ms']:.1f}",
                    f"{row['median_ms']:.1f} ({row['median_ms_q1']:.1f}-{row['median_ms_q3']:.1f})",
                    f"{row['speedup']:.2f}x",
                ]
            )
    headers = ["loss, forward + backward", "separate losses ms", "ms (quartiles)", "faster"]
    return _table(headers, rows) + (
        "\n\n*Separate* is a loss for each reference, *together* the loss of this page, *one reference* plain Q-CTC. "
        "The passes of the model that separate losses need as well are not in these figures."
    )


def _teacher_free_table(record: dict[str, Any]) -> str:
    rows = []
    for cell in record["cells"].values():
        answers = {row["way"]: row for row in cell["answers"]}
        for row in cell["updates"]:
            times = [row, answers.get(row["way"], answers["plain"])]
            cells = [f"{part['ms']['median']:.0f} ({_spread(part['cost'])})" for part in times]
            rows.append([f"{cell['size']}, {cell['side']} px, batch {cell['batch']}: {row['way']}", *cells])
    columns = [f"{what}, ms (times plain, quartiles)" for what in ("an update", "an answer")]
    return _table(["captioning", *columns], rows) + (
        "\n\n*Plain* is Q-CTC of one reference, the others are of all; *pairs*, an update of a training's end, and "
        "*self-conditioned* have the intermediate loss as well. Answers are of one image. Times are medians, and what "
        "is in brackets the median of the ratios of rounds in which all took turns. But for *self-conditioned* the "
        "answering model is the plain one."
    )


def _spread(cost: dict[str, float]) -> str:
    """Write a ratio with its quartiles."""
    return f"{cost['median']:.2f}x, {cost['q1']:.2f}-{cost['q3']:.2f}"


def _training_table(record: dict[str, Any]) -> str:
    rows = []
    for cell in record["cells"].values():
        for row in cell["rows"]:
            parts = " + ".join(f"{part['median']:.0f}" for part in row["parts_ms"].values())
            rows.append(
                [
                    f"{cell['size']}, {cell['side']} px, batch {cell['batch']}: {row['model']}",
                    f"{row['median_ms']:.0f} ({row['median_ms_q1']:.0f}-{row['median_ms_q3']:.0f})",
                    parts,
                    f"{row['peak_bytes'] / 1e9:.2f}",
                    f"{row['kept_bytes'] / 1e9:.2f}",
                ]
            )
    headers = ["training step", "ms (quartiles)", "forward + backward + optimiser", "peak GB"]
    return _table([*headers, "of it weights, gradients, Adam"], rows)


def _loading_table(record: dict[str, Any]) -> str:
    texts = []
    for cell in record["cells"].values():
        if "photo" in cell:
            rows = [
                [
                    row["workers"],
                    f"{row['rows_per_s']['median']:.0f} ({row['rows_per_s']['q1']:.0f}-{row['rows_per_s']['q3']:.0f})",
                    f"{row['first_batch_s']['median']:.1f}",
                ]
                for row in cell["rows"]
            ]
            photo = "{} x {}".format(*cell["photo"])
            headers = [f"workers ({photo} JPEGs to {cell['side']} px)", "rows a second (quartiles)"]
            texts.append(_table([*headers, "s to the first batch"], rows))
        else:
            index, first = (f"{cell[key] / 1e6:.0f} MB" for key in ("index_peak_bytes", "first_batch_peak_bytes"))
            texts.append(
                f"A TSV of {cell['rows']:,} rows ({cell['file_bytes'] / 1e9:.1f} GB): indexed in "
                f"{cell['index_s']:.1f} s, {index} at the peak; the first shuffled batch after "
                f"{cell['first_batch_s']:.1f} s, index included, {first} at the peak; "
                f"{cell['lookups_per_s']:,.0f} random reads a second."
            )
    return "\n\n".join(texts)


def _generation_table(record: dict[str, Any]) -> str:
    def median_of(values: dict[str, float] | None, form: str) -> str:
        return "-" if values is None else format(values["median"], form)

    rows = []
    for cell in record["cells"].values():
        for row in cell["rows"]:
            rate = row["rows_per_s_after_start"]
            rows.append(
                [
                    f"{cell['size']}, {cell['side']} px, batch {cell['batch']}: {row['label']}",
                    median_of(row["rows_per_s"], ".2f"),
                    median_of(rate, ".2f") + (f" ({rate['q1']:.2f}-{rate['q3']:.2f})" if rate else ""),
                    median_of(row["speedup_after_start"], ".2f"),
                    median_of(row["outside_decoding_after_start"], ".0%"),
                    median_of(row["one_batch_s"], ".1f"),
                ]
            )
    headers = ["fairseq-generate", "rows a second", "after the start (quartiles)", "times the first's"]
    return _table([*headers, "outside decoding", "s for one batch alone"], rows)

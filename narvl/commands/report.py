"""``narvl report``: puts several runs side by side, in one table and one picture grid."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narvl.commands.score import NOT_RUN
from narvl.errors import DataError, UsageError

if TYPE_CHECKING:
    from narvl.evaluation.grid import Picture

HELP = "compare runs in one table (quality and speed) and one picture grid"

logger = logging.getLogger(__name__)

_NOTE = "BLEU-4, CIDEr and METEOR are multiplied by 100, as papers print them."
_SPEED_NOTE = "Latency is per image, at batch size 1; the speed-up is that of the median over {first}'s."
_LATENCY_KEYS = ("name", "decoding", "median_ms", "p95_ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory that holds SPLIT.tsv")
    parser.add_argument("--split", default="test", help="split that was generated (default: %(default)s)")
    parser.add_argument(
        "--run",
        required=True,
        action="append",
        metavar="NAME=DIR",
        help="a run's name and its folder with generate-SPLIT.txt and scores.json; repeat for each run, baseline first",
    )
    parser.add_argument("--latency", metavar="FILE", help="figures of `narvl latency`; its rows are matched by name")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for table.md, results.json and grid.png")
    parser.add_argument("--images", type=int, default=12, help="pictures in the grid (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Print the table, and write it with all figures and the picture grid.

    Raises:
        DataError: a file is missing or does not fit the others.
        UsageError: a flag cannot be used.
    """
    from narvl.evaluation.grid import draw_grid
    from narvl.provenance import provenance

    if args.images < 1:
        raise UsageError(f"--images {args.images}: give 1 or more.")
    folders = _parse_runs(args.run)
    scores = {name: _read_scores(folder, args) for name, folder in folders.items()}
    tokenizers = {name: record["tokenizer"] for name, record in scores.items()}
    if len(set(tokenizers.values())) > 1:
        raise DataError(f"the runs were scored with different tokenizers ({tokenizers}): score each again.")
    latency = _read_latency(args.latency) if args.latency else {"rows": [], "provenance": None}
    rows = combine(scores, latency["rows"])
    pictures = _pictures(args, folders)

    origin = provenance()
    text = format_table(rows) + "\n" + _notes(rows, tokenizers, origin)
    results = {
        "split": args.split,
        "rows": rows,
        "latency_provenance": latency.get("provenance"),
        "provenance": origin,
    }
    grid = draw_grid(pictures, title=f"{Path(args.data).resolve().name}, {args.split}")
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(text, encoding="utf-8")
        (out / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        grid.save(out / "grid.png")
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written ({error.strerror}). Give another folder.") from error
    sys.stdout.write(text)


def combine(scores: dict[str, dict[str, Any]], timings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what is known of each run.

    Args:
        scores: the record of ``narvl score --json`` of each run, baseline first.
        timings: the rows of ``narvl latency``. A run's first row is its own; its further rows (other ways of decoding)
            follow as rows without scores.

    Returns:
        One mapping a row: ``name``, ``scores`` (or None), ``latency`` (or None) and ``speedup`` over the baseline's
        median (or None).
    """
    rows: list[dict[str, Any]] = []
    for name, record in scores.items():
        own = [timing for timing in timings if timing["name"] == name]
        if timings and not own:
            known = ", ".join(dict.fromkeys(timing["name"] for timing in timings))
            logger.warning("--latency has no row named %r; its rows are: %s", name, known)
        rows.append({"name": name, "scores": record, "latency": own[0] if own else None})
        rows += [{"name": name, "scores": None, "latency": timing} for timing in own[1:]]
    rows += [{"name": t["name"], "scores": None, "latency": t} for t in timings if t["name"] not in scores]
    baseline = rows[0]["latency"]
    for row in rows:
        timed = baseline and row["latency"]
        row["speedup"] = baseline["median_ms"] / row["latency"]["median_ms"] if timed else None
    return rows


def format_table(rows: list[dict[str, Any]]) -> str:
    """Write the rows of :func:`combine` as a Markdown table; columns that no row can fill are left out."""
    from tabulate import tabulate

    headers = ["run"]
    timed = any(row["latency"] for row in rows)
    judged = any(row["scores"] and row["scores"]["faithfulness"] for row in rows)
    headers += ["decoding"] if timed else []
    headers += ["BLEU-4", "CIDEr", "METEOR"]
    headers += ["faithful", "ungrammatical"] if judged else []
    headers += ["median ms", "p95 ms", "speed-up"] if timed else []
    table = [[_cell(row, header) for header in headers] for row in rows]
    left = sum(header in ("run", "decoding") for header in headers)
    align = ["left"] * left + ["right"] * (len(headers) - left)
    return tabulate(table, headers, tablefmt="github", disable_numparse=True, colalign=align) + "\n"


def _cell(row: dict[str, Any], header: str) -> str:
    scores, latency = row["scores"], row["latency"]
    if header == "run":
        return str(row["name"])
    if header == "decoding":
        return str(latency["decoding"]) if latency else NOT_RUN
    if header in ("median ms", "p95 ms"):
        return f"{latency[header.replace(' ', '_')]:.1f}" if latency else NOT_RUN
    if header == "speed-up":
        return f"{row['speedup']:.1f}x" if row["speedup"] else NOT_RUN
    if scores is None:
        return NOT_RUN
    if header in ("faithful", "ungrammatical"):
        return f"{scores['faithfulness'][header]:.1%}" if scores["faithfulness"] else NOT_RUN
    value = scores["metrics"][header]
    return NOT_RUN if value is None else f"{100 * value:.1f}"


def _notes(rows: list[dict[str, Any]], tokenizers: dict[str, str], origin: dict[str, Any]) -> str:
    samples = rows[0]["scores"]["samples"]
    notes = [_NOTE, f"Captions were cut by the {next(iter(tokenizers.values()))} tokenizer; {samples} images."]
    notes += [_SPEED_NOTE.format(first=rows[0]["name"])] if rows[0]["latency"] else []
    for row in rows:
        for metric, reason in (row["scores"] or {"not_run": {}})["not_run"].items():
            if metric == "METEOR":
                notes.append(f"{metric} of {row['name']} was not run: {reason}.")
    machine, changed = origin["machine"], " with changes" if origin["dirty"] else ""
    notes.append(f"Written {origin['date']}, commit {origin['commit']}{changed}.")
    notes.append(f"Machine: {machine['cores']} cores of {machine['cpu']}, accelerator: {machine['accelerator']}.")
    return "\n".join(f"- {note}" for note in notes) + "\n"


def _parse_runs(runs: list[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for value in runs:
        name, equals, folder = value.partition("=")
        name = name.strip()
        if not name or not equals or not folder:
            raise UsageError(f'--run {value!r}: give NAME=DIR, for example --run "NARVL=runs/narvl".')
        if name in folders:
            raise UsageError(f"--run {value!r}: the name {name!r} is given twice. Names tell the runs apart.")
        folders[name] = Path(folder)
    return folders


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {remedy}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}). {remedy}") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: a JSON object is expected, this is a {type(record).__name__}. {remedy}")
    return record


def _read_scores(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    path = folder / "scores.json"
    remedy = (
        f"Make it with: narvl score captioning --results {folder / f'generate-{args.split}.txt'} --data {args.data} "
        f"--split {args.split} --json {path}"
    )
    record = _read_json(path, remedy)
    missing = {"task", "split", "metrics", "not_run", "tokenizer", "samples", "faithfulness"} - record.keys()
    if missing:
        raise DataError(f"{path}: no {', '.join(sorted(missing))} in it. {remedy}")
    if (record["task"], record["split"]) != ("captioning", args.split):
        raise DataError(
            f"{path}: holds the scores of {record['task']} on split {record['split']!r}, but the report is on "
            f"captioning, --split {args.split}. {remedy}"
        )
    return record


def _read_latency(path: str) -> dict[str, Any]:
    remedy = "Make it with: narvl latency --json"
    record = _read_json(Path(path), remedy)
    rows = record.get("rows")
    keys = set(_LATENCY_KEYS)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and keys <= row.keys() for row in rows):
        raise DataError(f"{path}: 'rows' must be a list of objects with {', '.join(_LATENCY_KEYS)}. {remedy}")
    return record


def _pictures(args: argparse.Namespace, folders: dict[str, Path]) -> list[Picture]:
    from narvl.data.image import decode_image
    from narvl.data.tsv import COLUMNS, TsvFile
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.grid import Caption, Picture
    from narvl.evaluation.references import read_split, split_file
    from narvl.scenes.judge import judge

    split = read_split(args.data, args.split)
    generations = {name: read_generations(folder / f"generate-{args.split}.txt") for name, folder in folders.items()}
    for name, found in generations.items():
        if found.keys() != split.references.keys():
            raise DataError(
                f"{folders[name] / f'generate-{args.split}.txt'}: has {len(found)} rows, "
                f"{split_file(args.data, args.split)} has {len(split.references)}, or their ids differ. "
                "Generate the split again."
            )
    rows = TsvFile(split_file(args.data, args.split), COLUMNS["captioning"])
    pictures = []
    count = min(args.images, len(rows))
    # Spread over the whole split, chosen before any caption is seen.
    for index in (position * len(rows) // count for position in range(count)):
        scene = split.scenes[index] if split.scenes else None
        captions = [Caption("reference", split.references[index][0])]
        for name, found in generations.items():
            text = found[index].text
            captions.append(Caption(name, text, judge(text, scene).faithful if scene else None))
        try:
            image = decode_image(rows[index][COLUMNS["captioning"].index("image")])
        except DataError as error:
            raise DataError(f"{rows.where(index)}: {error}") from error
        pictures.append(Picture(image, captions))
    return pictures

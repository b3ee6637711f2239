"""``narvl report``: puts several runs of a task side by side, in one table and one picture grid."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narvl.commands.reporting import captioning, entailment, grounding, vqa
from narvl.commands.reporting._task import Chosen, Column, TaskReport
from narvl.commands.scoring._outcome import NOT_RUN
from narvl.errors import DataError, UsageError

if TYPE_CHECKING:
    from narvl.evaluation.grid import Picture

HELP = "compare runs in one table (quality and speed) and one picture grid"

logger = logging.getLogger(__name__)

#: Every task whose runs can be compared; the runs' scores tell which it is.
TASKS: dict[str, TaskReport] = {
    "captioning": captioning,
    "vqa": vqa,
    "grounding": grounding,
    "entailment": entailment,
}

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
        help="a run's name, and its folder with generate-SPLIT.txt and scores-SPLIT.json; repeat, baseline first",
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
    task, scores = _read_all_scores(folders, args)
    columns = TASKS[task].columns(scores)
    latency = _read_latency(args.latency) if args.latency else {"rows": [], "provenance": None}
    rows = combine(scores, latency["rows"])
    pictures = _pictures(args, folders, task)

    origin = provenance()
    notes = [*TASKS[task].notes(scores), *_notes(rows, columns, origin)]
    text = format_table(rows, columns) + "\n" + "".join(f"- {note}\n" for note in notes)
    results = {
        "split": args.split,
        "rows": rows,
        "latency_provenance": latency.get("provenance"),
        "provenance": origin,
    }
    title = f"{Path(args.data).resolve().name}, {args.split}"
    grid = draw_grid(pictures, title=title, marks=TASKS[task].MARKS)
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


def format_table(rows: list[dict[str, Any]], columns: Sequence[Column]) -> str:
    """Write the rows of :func:`combine` as a Markdown table; without a timed row it has no columns of speed.

    Args:
        rows: what is known of each run.
        columns: the columns of scores.
    """
    from tabulate import tabulate

    timed = any(row["latency"] for row in rows)
    names = ["run", "decoding"] if timed else ["run"]
    speeds = ["median ms", "p95 ms", "speed-up"] if timed else []
    headers = [*names, *(header for header, _ in columns), *speeds]
    table = []
    for row in rows:
        figures = [cell(row["scores"]) if row["scores"] else NOT_RUN for _, cell in columns]
        table.append([*(_cell(row, name) for name in names), *figures, *(_cell(row, speed) for speed in speeds)])
    align = ["left"] * len(names) + ["right"] * (len(headers) - len(names))
    return tabulate(table, headers, tablefmt="github", disable_numparse=True, colalign=align) + "\n"


def _cell(row: dict[str, Any], header: str) -> str:
    latency = row["latency"]
    if header == "run":
        return str(row["name"])
    if header == "decoding":
        return str(latency["decoding"]) if latency else NOT_RUN
    if header == "speed-up":
        return f"{row['speedup']:.1f}x" if row["speedup"] else NOT_RUN
    return f"{latency[header.replace(' ', '_')]:.1f}" if latency else NOT_RUN


def _notes(rows: list[dict[str, Any]], columns: Sequence[Column], origin: dict[str, Any]) -> list[str]:
    notes = [_SPEED_NOTE.format(first=rows[0]["name"])] if rows[0]["latency"] else []
    shown = {header for header, _ in columns}
    for row in rows:
        for metric, reason in (row["scores"] or {}).get("not_run", {}).items():
            if metric in shown:
                notes.append(f"{metric} of {row['name']} was not run: {reason}.")
    machine, changed = origin["machine"], " with changes" if origin["dirty"] else ""
    notes.append(f"Written {origin['date']}, commit {origin['commit']}{changed}.")
    notes.append(f"Machine: {machine['cores']} cores of {machine['cpu']}, accelerator: {machine['accelerator']}.")
    return notes


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


def _read_all_scores(folders: dict[str, Path], args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Read each run's scores; the first run tells the task, and the others must be of the same."""
    task, scores = "", {}
    for name, folder in folders.items():
        scores[name] = _read_scores(folder, task, args)
        task = scores[name]["task"]
    return task, scores


def _read_scores(folder: Path, task: str, args: argparse.Namespace) -> dict[str, Any]:
    path = folder / f"scores-{args.split}.json"
    remedy = (
        f"Make it with: narvl score {task or 'TASK'} --results {folder / f'generate-{args.split}.txt'} "
        f"--data {args.data} --split {args.split} --json {path}"
    )
    record = _read_json(path, remedy)
    known = record.get("task")
    if not isinstance(known, str) or known not in TASKS:
        raise DataError(f"{path}: its task is {known!r}, known are {', '.join(TASKS)}. {remedy}")
    missing = ({"split", "samples"} | TASKS[known].KEYS) - record.keys()
    if missing:
        raise DataError(f"{path}: no {', '.join(sorted(missing))} in it. {remedy}")
    for key in sorted({"samples", "accuracy", "exact_match", "mean_iou", "invalid"} & record.keys()):
        if not isinstance(record[key], int | float):
            raise DataError(f"{path}: its {key} is {record[key]!r}, not a number. {remedy}")
    if (known, record["split"]) != (task or known, args.split):
        raise DataError(
            f"{path}: holds the scores of {known} on split {record['split']!r}, but the report is on "
            f"{task or known}, --split {args.split}. {remedy}"
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


def _pictures(args: argparse.Namespace, folders: dict[str, Path], task: str) -> list[Picture]:
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.references import check_ids, open_split

    rows = open_split(args.data, args.split, task)
    said = {}
    for name, folder in folders.items():
        path = folder / f"generate-{args.split}.txt"
        said[name] = {index: generation.text for index, generation in read_generations(path).items()}
        check_ids(said[name], path, rows)
    count = min(args.images, len(rows))
    # Spread over the whole split, chosen before any output is seen.
    indices = [position * len(rows) // count for position in range(count)]
    return TASKS[task].pictures(Chosen(args.data, args.split, rows, indices, said))

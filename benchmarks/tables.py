"""Writes the figures of README.md and docs/ from the files in results/: run it after replacing one of them.

Usage: python benchmarks/tables.py [--check]    (--check: write nothing, fail where a page is out of date)
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hardening_tables
import speed_tables
from records import RESULTS, read, source
from tabulate import tabulate

from narvl.tables.render import page, summary

ROOT = Path(__file__).resolve().parents[1]
#: The pages, and how they link to the files of the repository.
PAGES = {
    ROOT / "README.md": "",
    ROOT / "docs" / "speed.md": "../",
    ROOT / "docs" / "references.md": "../",
    ROOT / "docs" / "hardening.md": "../",
}


def quickstart() -> str:
    """Build the quickstart's table."""
    record = read("quickstart")
    caution = "One training run each: at this number of images a difference of a point or two may be chance."
    return f"{record['table'].strip()}\n- {caution}\n\n{source('quickstart', record)}"


def quickstart_time() -> str:
    """Tell how long the quickstart takes."""
    record = read("quickstart")
    total = sum(record["seconds"].values())
    steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in record["seconds"].items())
    cores = record["provenance"]["machine"]["cores"]
    return (
        f"On {cores} CPU cores, which other jobs kept partly busy, the first command took {total / 60:.0f} minutes "
        f"({steps})."
    )


def photos() -> str:
    """Build the table of the runs on real photos."""
    by_heart, scores = read("photos_memorised"), read("photos_scores")
    metrics = {name: value for name, value in scores["metrics"].items() if value is not None}
    cells = [[name, f"{100 * value:.1f}"] for name, value in metrics.items()]
    return (
        f"Real photos, GPT-2's BPE, nano size, from scratch: trained on {by_heart['captions']} photos with one caption "
        f"each, NARVL gives {by_heart['same']} of them back word for word. Trained on 700 photos with all their "
        "captions for 100 updates, which teaches no general captioner, its test figures (times 100) are:\n\n"
        + tabulate(cells, headers=["metric", "test"], tablefmt="github")
        + "\n\n"
        + source("photos_scores", scores)
    )


def blank() -> str:
    """Build the table of the trained and the frozen blank."""
    record = read("blank")
    cells = [
        [
            f"{kind} blank",
            f"{100 * record[kind]['metrics']['CIDEr']:.1f}",
            f"{100 * record[kind]['faithfulness']['faithful']:.1f}%",
            f"{100 * record[kind]['faithfulness']['ungrammatical']:.1f}%",
        ]
        for kind in ("trained", "frozen")
    ]
    return (
        "With the token table frozen, 200 updates from the quickstart's teacher, one seed (a difference of this size "
        "may be chance: at this width the rest of the network makes up for a frozen blank; training it costs nothing):"
        "\n\n"
        + tabulate(cells, headers=["", "CIDEr", "faithful", "ungrammatical"], tablefmt="github", disable_numparse=True)
        + "\n\n"
        + source("blank", record)
    )


#: The figure that a task is compared by: its name, its key in the scores, whether it is a share.
HEADLINES = {"vqa": "accuracy", "grounding": "Acc@0.5", "entailment": "accuracy"}


def tasks() -> str:
    """Build the table of the three tasks beside captioning, and the one that tells where the models differ."""
    record = read("tasks")
    cells, kinds = [], []
    for task, found in record["tasks"].items():
        rows = {(row["name"], row["latency"]["decoding"]): row for row in found["rows"]}
        baseline = next(row for (name, _), row in rows.items() if name == "AR" and row["scores"])
        parallel = next(row for (name, _), row in rows.items() if name == "NARVL")
        accuracies = [row["scores"]["accuracy"] for row in (baseline, parallel)]
        times = [row["latency"]["median_ms"] for row in (baseline, parallel)]
        invalid = [row["scores"].get("invalid") for row in (baseline, parallel)]
        cells.append(
            [
                f"{task}: {HEADLINES[task]}",
                *(f"{value:.1%}" for value in accuracies),
                f"{100 * (accuracies[1] - accuracies[0]):+.1f}",
                "-" if invalid[0] is None else f"{invalid[0]}, {invalid[1]}",
                *(f"{value:.1f}" for value in times),
                f"{parallel['speedup']:.1f}x",
            ]
        )
        for kind, figures in found["kinds"]["AR"].items():
            other = found["kinds"]["NARVL"][kind]
            partly = "-" if "partly" not in figures else f"{figures['partly']:.1%}, {other['partly']:.1%}"
            kinds.append([task, kind, figures["samples"], f"{figures['right']:.1%}", f"{other['right']:.1%}", partly])
    headers = ["test split", "AR", "NARVL", "points", "invalid boxes", "AR ms", "NARVL ms", "speed-up"]
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    where = tabulate(
        kinds,
        headers=["task", "kind", "samples", "AR", "NARVL", "boxes half right (AR, NARVL)"],
        tablefmt="github",
        disable_numparse=True,
    )
    return (
        f"{table}\n\nAR is beam search, {baseline['latency']['decoding']}; milliseconds are medians a sample at batch "
        "size 1. One training run each. Where the models stand, by kind of text:\n\n"
        f"{where}\n\n{source('tasks', record)}"
    )


def grounding() -> str:
    """Build the table of the ways to say a box."""
    record = read("grounding")
    titles = {
        "ctc5": "Q-CTC, 5 queries (the paper)",
        "ctc9": "Q-CTC, 9 queries",
        "position5_greedy": "by position, 5 queries, each query's best bin",
        "position5": "by position, 5 queries, the most probable box (default)",
    }
    cells = [
        [
            title,
            f"{record[name]['accuracy']:.1%}",
            f"{record[name]['mean_iou']:.3f}",
            record[name]["invalid"],
            f"{record[name]['unreachable']:.2%}",
        ]
        for name, title in titles.items()
    ]
    headers = ["", "Acc@0.5", "mean IoU", "invalid boxes", "unreachable in training"]
    return (
        tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
        + "\n\nSame data, seed, start and updates; one run each.\n\n"
        + source("grounding", record)
    )


def precision() -> str:
    """Build the table of quality by precision."""
    if not (RESULTS / "precision.json").is_file():
        return "Not run yet."
    record = read("precision")
    precisions = ("float32", "bfloat16", "float16", "int8")
    cells = [
        [
            model.replace("teacher", "AR beam 5").replace("narvl", "NARVL"),
            *(f"{found[name]['accuracy']:.1%}" for name in precisions),
            *(f"{found[name]['same']}" for name in precisions[1:]),
            f"{found['float32']['samples']:,}",
        ]
        for model, found in record["models"].items()
    ]
    headers = ["accuracy", *precisions, *(f"as in float32: {name}" for name in precisions[1:]), "of"]
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    return f"{table}\n\nThe scenes' models, on their test splits.\n\n{source('precision', record)}"


SECTIONS: dict[str, Callable[[], str]] = {
    "quickstart": quickstart,
    "quickstart-time": quickstart_time,
    "photos": photos,
    "blank": blank,
    "tasks": tasks,
    "grounding": grounding,
    "precision": precision,
    "claims": lambda: summary("scenes", RESULTS / "scenes"),
    **speed_tables.SECTIONS,
    **hardening_tables.SECTIONS,
}


def fill(text: str, folder: str) -> tuple[str, set[str]]:
    """Replace what stands between each section's markers, links being relative to ``folder``; return the sections."""
    found = set()
    for name, build in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if pattern.search(text):
            found.add(name)
            filled = f"{begin}\n{build()}\n{end}".replace("](results/", f"]({folder}results/")
            text = pattern.sub(lambda _, filled=filled: filled, text)
    return text, found


def written_whole() -> dict[Path, str]:
    """Return the pages that ``narvl tables`` writes, as they must be."""
    # README links to the first, whether or not anything has been run.
    scales = ["scenes", *(["paper"] if (RESULTS / "paper").is_dir() else [])]
    docs = ROOT / "docs"
    return {docs / f"tables_{name}.md": page(name, RESULTS / name, f"../results/{name}") for name in scales}


def main() -> None:
    """Fill or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a page is out of date")
    args = parser.parse_args()
    missing = set(SECTIONS)
    pages = written_whole()
    for path, folder in PAGES.items():
        pages[path], found = fill(path.read_text(encoding="utf-8"), folder)
        missing -= found
    if missing:
        raise SystemExit(f"on no page are the markers of {', '.join(sorted(missing))}")
    for path, text in pages.items():
        name = path.relative_to(ROOT)
        if not args.check:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name} written\n")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{name} is out of date: run benchmarks/tables.py")


if __name__ == "__main__":
    main()

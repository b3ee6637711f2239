"""Writes the figures of README.md and docs/ from the files in results/: run it after replacing one of them.

Usage: python benchmarks/tables.py [--check]    (--check: write nothing, fail where a page is out of date)
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hardening_tables
import speed_tables
from records import RESULTS, read, source
from settling import SETTLED, settled_after
from tabulate import tabulate

from narvl.provenance import short_version
from narvl.tables.catalogue.references import LEADS, WAYS, Way
from narvl.tables.figures import mean_text, read_figures
from narvl.tables.render import page, render, summary
from narvl.tables.render import source as render_source
from narvl.tables.table import differences

ROOT = Path(__file__).resolve().parents[1]
#: Names for people of the models of benchmarks/photos_references.sh.
_LEARNED = {
    "plain": "one at a time",
    "all": "all",
    "intermediate": "all, intermediate",
    "token": "all by the token, intermediate",
    "conditioned": "all, self-conditioned",
    "token_conditioned": "all by the token, self-conditioned",
    "own": "its own texts, plain",
    "token_own": "its own texts, plain, by the token",
    "distilled": "distilled",
    "ar": "AR",
}
#: What the distilled model's training and decoder are like.
_DISTILLED = Way("", references=False)
_NOT_RUN = "not run"
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
    """Tell what was learned from real photos."""
    by_heart, ways = read("photos_memorised"), read("photos_references")["models"].values()
    ciders = [100 * way["metrics"]["CIDEr"] for way in ways]
    return (
        f"Real photos, GPT-2's BPE, nano size, from scratch: trained on {by_heart['captions']} photos with one caption "
        f"each, NARVL gives {by_heart['same']} of them back word for word. Trained on all photos, too few for a "
        f"general captioner, CIDEr on test photos is {min(ciders):.1f} to {max(ciders):.1f}, by the way to learn: see "
        f"[docs/references.md](docs/references.md#real-photos).\n\n{source('photos_memorised', by_heart)}"
    )


def photos_references() -> str:
    """Build the table of ways to learn from several captions of real photos."""
    if not (RESULTS / "photos_references.json").is_file():
        return "Not run yet: `benchmarks/photos_references.sh PHOTOS BPE_DIR OUT`."
    record = read("photos_references")
    metrics = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    cells = []
    for name, title in _LEARNED.items():
        found = record["models"].get(name, {"metrics": {}, "different": _NOT_RUN})
        values = [found["metrics"].get(metric) for metric in metrics]
        said = (_NOT_RUN if value is None else f"{100 * value:.1f}" for value in values)
        words = f"{found['words']:.1f}" if "words" in found else _NOT_RUN if found["different"] == _NOT_RUN else "-"
        cells.append([title, *said, found["different"], words])
    samples = next(iter(record["models"].values()))["samples"]
    headers = ["photos, learned from", *metrics, f"different texts of {samples}", "words"]
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    return f"{table}\n\n{source('photos_references', record)}"


def published(name: str) -> str:
    """Build one of the tables that ``narvl tables`` makes of the scenes."""
    figures = read_figures(RESULTS / "scenes" / f"{name}.csv")
    return f"{render(figures)}\n\n{render_source(figures)}" if figures.all else "Not run yet."


def teacher_free() -> str:
    """Build the short table of captions learned without a teacher: a row a way, a column a metric or a cost."""
    figures = read_figures(RESULTS / "scenes" / "references.csv")
    metrics = ("CIDEr", "faithful", "distinct-2 (%)")
    updates, answers = (speed_tables.costs_teacher_free("base", what) for what in ("updates", "answers"))
    cells = []
    for row in (row for row in figures.rows if row.startswith("captioning: ")):
        name = row.partition(": ")[2]
        way = {**WAYS, **LEADS, "distilled": _DISTILLED}.get(name)
        found = [list(figures.values(row, metric).values()) for metric in metrics]
        if found[0]:
            quality = [mean_text(values) if values else "-" for values in found]
            beside = list(differences(figures, metrics[0], row, "captioning: all").values())
            more = f"{statistics.fmean(beside):+.1f}" if beside and name != "all" else "-"
            seeds = ", ".join(figures.values(row, metrics[0]))
            costs = [updates.get(way.update, "-"), answers.get(way.decoder, "-")] if way else ["-", "-"]
            cells.append([name, quality[0], more, *quality[1:], seeds, *costs])
    if not cells:
        return "Not run yet."
    titles = [metrics[0], f"{metrics[0]} less that of *all*", *metrics[1:], "seeds", "an update", "an answer"]
    headers = ["captions of the scenes, learned from", *titles]
    said = [tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)]
    said.append(f"Less that of *all*: the mean over the seeds that both have. {render_source(figures)}")
    if updates:
        costs_from = source("speed_teacher_free", read("speed_teacher_free"))
        said.append(f"Times are ratios to plain Q-CTC's, at base size on a CPU. {costs_from}")
    return "\n\n".join(said)


def settling() -> str:
    """Build the table of when trainings without a teacher settle on a wording."""
    if not (RESULTS / "settling.json").is_file():
        return "Not run yet: `python benchmarks/settling.py RUNS`."
    record = read("settling")
    seeds = sorted({seed for found in record["ways"].values() for seed in found}, key=int)
    cells = []
    for row, found in record["ways"].items():
        after = {seed: settled_after(part["updates"], part["cider"]) for seed, part in found.items()}
        cells.append([row, *((after[seed] or "never") if seed in after else "not run" for seed in seeds)])
    longest = max(part["updates"][-1] for found in record["ways"].values() for part in found.values())
    headers = [f"CIDEr in validation first reaches {SETTLED} after", *(f"seed {seed}" for seed in seeds)]
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    figure = "![CIDEr in validation, update by update, a panel a way](results/settling.svg)"
    versions = (part for found in record["ways"].values() for part in found.values())
    commits = ", ".join(dict.fromkeys(short_version(part["commit"]) for part in versions))
    told = f"Trainings take {longest:,} updates. Runs of commit {commits}."
    return f"{table}\n\n{figure}\n\n{told} File: [results/settling.json](results/settling.json)."


def kinds() -> str:
    """Build the table that tells where the models of a task differ."""
    if not (RESULTS / "kinds.json").is_file():
        return "Not run yet."
    record = read("kinds")
    cells = []
    for task, found in record["tasks"].items():
        for kind, figures in found["AR"].items():
            other = found["NARVL"][kind]
            partly = "-" if "partly" not in figures else f"{figures['partly']:.1%}, {other['partly']:.1%}"
            cells.append([task, kind, figures["samples"], f"{figures['right']:.1%}", f"{other['right']:.1%}", partly])
    headers = ["task", "kind", "samples", "AR", "NARVL", "boxes half right (AR, NARVL)"]
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    return f"{table}\n\n{source('kinds', record)}"


def precision() -> str:
    """Build the table of quality by precision."""
    if not (RESULTS / "precision.json").is_file():
        return "Not run yet."
    record = read("precision")
    precisions = ("float32", "bfloat16", "float16", "int8")
    cells = [
        [
            model.replace("ofa", "AR beam 5").replace("teacher", "AR beam 5").replace("narvl", "NARVL"),
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
    "teacher-free": teacher_free,
    "photos-references": photos_references,
    "settling": settling,
    "kinds": kinds,
    "precision": precision,
    **{name: partial(published, name) for name in ("table1", "boxes", "blank")},
    "claims": lambda: summary("scenes", RESULTS / "scenes"),
    **speed_tables.SECTIONS,
    **hardening_tables.SECTIONS,
}


def fill(text: str, folder: str) -> tuple[str, set[str]]:
    """Replace what stands between each section's markers, links being relative to ``folder``; return the sections.

    Raises:
        SystemExit: markers are of no section, whose figures nobody would write or check.
    """
    unknown = sorted(set(re.findall(r"<!-- (?:begin|end) (.*?) -->", text)) - set(SECTIONS))
    if unknown:
        raise SystemExit(f"markers of no section: {', '.join(unknown)}. There are: {', '.join(SECTIONS)}.")
    found = set()
    for name, build in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if pattern.search(text):
            found.add(name)
            filled = f"{begin}\n{build()}\n{end}".replace("](results/", f"]({folder}results/")
            text = pattern.sub(filled.replace("\\", r"\\"), text)
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

"""Copies the figures of a finished run into results/, in the form that benchmarks/tables.py reads.

Usage: python benchmarks/collect.py quickstart RUN    (RUN: the quickstart's folder)
       python benchmarks/collect.py photos RUN        (RUN: the folder of benchmarks/photos.sh)
       python benchmarks/collect.py precision RUN     (RUN: the folder of benchmarks/precision.sh)
       python benchmarks/collect.py references RUN    (RUN: the folder of benchmarks/photos_references.sh)
       python benchmarks/collect.py advisories RUN    (RUN: where pip-audit has written audit.json; docs/hardening.md)
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from records import earlier, write

from narvl.evaluation.generations import read_generations
from narvl.provenance import provenance

#: How commands name the folder they write to.
OUT = "OUT"


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def seed_of(log: Path) -> int:
    """Read the seed from the configuration that fairseq-train writes to its log."""
    found = re.search(r"'seed': (\d+)", log.read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"{log}: no seed in it; is it the log of fairseq-train?")
    return int(found[1])


def quickstart(run: Path) -> None:
    """Collect the report, its table, the latencies and the seconds of each stage."""
    lines = (run / "seconds.tsv").read_text(encoding="utf-8").splitlines()
    record = read(run / "report" / "results.json")
    record["table"] = (run / "report" / "table.md").read_text(encoding="utf-8")
    record["latency"] = read(run / "latency.json")
    seconds: dict[str, int] = {}
    for line in lines:
        title, spent = line.split("\t")
        seconds.setdefault(title, int(spent))  # a later run of the same folder only checks the set-up again
    record["seconds"] = seconds
    record["provenance"]["seed"] = seed_of(run / "narvl" / "train.log")
    write("quickstart", record)


def photos(run: Path) -> None:
    """Collect the photos learned by heart."""
    record = read(run / "memorised.json")
    record["provenance"]["seed"] = seed_of(run / "fifty_run" / "train.log")
    write("photos_memorised", record)


def precision(run: Path) -> None:
    """Collect each model's scores in each precision, and how many of its texts are those of single precision."""
    record: dict[str, Any] = {"models": {}}
    for path in sorted(run.glob("*/*/*/scores-test.json")):
        folder = path.parent
        single, other = (read_generations(place / "generate-test.txt") for place in (folder.parent / "float32", folder))
        scores = read(path)
        scores["same"] = sum(other[row].text == generation.text for row, generation in single.items())
        model = f"{folder.parents[1].name} {folder.parent.name}"
        record["models"].setdefault(model, {})[folder.name] = scores
        record["provenance"] = {**scores["provenance"], "command": f"benchmarks/precision.sh RUNS {OUT}", "seed": 1}
    write("precision", record)


def references(run: Path) -> None:
    """Collect the test scores of each way to learn from several captions of a photo, of those that have ended.

    Those that this run has not are kept from the results file; each has its own provenance.
    """
    record: dict[str, Any] = {"models": earlier("photos_references").get("models", {})}
    paths = sorted(run.glob("*/scores-test.json"))
    if not paths:
        raise SystemExit(f"{run}: no model has been scored there; is it the OUT of benchmarks/photos_references.sh?")
    for path in paths:
        name, scores = path.parent.name, read(path)
        scores["provenance"]["seed"] = seed_of(run / name / "train.log")
        said = [generation.text for generation in read_generations(run / name / "generate-test.txt").values()]
        scores["different"] = len(set(said))
        scores["words"] = sum(len(text.split()) for text in said) / len(said)
        record["models"][name] = scores
        record["provenance"] = {
            **scores["provenance"],
            "command": f"benchmarks/photos_references.sh PHOTOS BPE_DIR {OUT}",
        }
    write("photos_references", record)


def advisories(run: Path) -> None:
    """Collect what pip-audit said of every pinned package: known advisories, or why it does not know."""
    packages = {
        package["name"]: {
            "version": package.get("version"),
            "advisories": [found["id"] for found in package.get("vulns", [])],
            "unknown": package.get("skip_reason"),
        }
        for package in read(run / "audit.json")["dependencies"]
    }
    flags = f"-r requirements.txt --no-deps --disable-pip -f json -o {OUT}/audit.json"
    made = provenance(None, ["pip-audit", *flags.split()])
    write("advisories", {"packages": packages, "provenance": made})


def main() -> None:
    """Collect a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    KINDS[args.kind](args.run)


KINDS = {
    "quickstart": quickstart,
    "photos": photos,
    "precision": precision,
    "references": references,
    "advisories": advisories,
}


if __name__ == "__main__":
    main()

"""Copies the figures of a finished run into results/, in the form that benchmarks/tables.py reads.

Usage: python benchmarks/collect.py quickstart RUN    (RUN: the quickstart's folder, made in one go)
       python benchmarks/collect.py photos RUN        (RUN: the folder of benchmarks/photos.sh)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(name: str, record: dict[str, Any]) -> None:
    """Write a results file."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def quickstart(run: Path) -> None:
    """Collect the report, its table, the latencies and the seconds of each stage."""
    lines = (run / "seconds.tsv").read_text(encoding="utf-8").splitlines()
    record = read(run / "report" / "results.json")
    record["table"] = (run / "report" / "table.md").read_text(encoding="utf-8")
    record["latency"] = read(run / "latency.json")
    record["seconds"] = {title: int(seconds) for title, seconds in (line.split("\t") for line in lines)}
    write("quickstart", record)


def photos(run: Path) -> None:
    """Collect the photos learned by heart, and the test scores."""
    write("photos_memorised", read(run / "memorised.json"))
    write("photos_scores", read(run / "scores.json"))


def main() -> None:
    """Collect a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("quickstart", "photos"))
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    {"quickstart": quickstart, "photos": photos}[args.kind](args.run)


if __name__ == "__main__":
    main()

"""Chooses a few photos with one caption each, and counts how many a model gives back word for word."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from narvl.data.captioning import references
from narvl.data.text import clean_caption
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.evaluation.generations import read_generations
from narvl.provenance import provenance


def select(captions: Path, out: Path, count: int) -> None:
    """Write the first ``count`` training photos, with their first captions, as train, valid and test alike."""
    first: dict[str, str] = {}
    with captions.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train" and len(first) < count:
                first.setdefault(row["image"], row["caption"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "image", "caption"])
        for split in ("train", "valid", "test"):
            writer.writerows([split, image, caption] for image, caption in first.items())


def count(data: Path, results: Path, out: Path) -> None:
    """Count the captions given back word for word (after the cleaning that targets get)."""
    rows = TsvFile(data / "test.tsv", COLUMNS["captioning"])
    said = read_generations(results)
    targets = [clean_caption(references(rows[index])[0], 20) for index in range(len(rows))]
    same = sum(clean_caption(said[index].text, 100) == target for index, target in enumerate(targets))
    out.write_text(json.dumps({"captions": len(rows), "same": same, "provenance": provenance()}, indent=2) + "\n")
    sys.stdout.write(f"{same} of {len(rows)} captions given back word for word\n")


def main() -> None:
    """Run the chosen step."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    chooser = steps.add_parser("select")
    chooser.add_argument("--captions", type=Path, required=True)
    chooser.add_argument("--out", type=Path, required=True)
    chooser.add_argument("--count", type=int, default=50)
    counter = steps.add_parser("count")
    counter.add_argument("--data", type=Path, required=True)
    counter.add_argument("--results", type=Path, required=True)
    counter.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    if args.step == "select":
        select(args.captions, args.out, args.count)
    else:
        count(args.data, args.results, args.json)


if __name__ == "__main__":
    main()

"""Tells when trainings without a teacher settle on a wording: CIDEr in validation, update by update.

Usage: python benchmarks/settling.py [RUNS]    (RUNS: those of `narvl tables references`; default: runs/tables/scenes)

Of the captions of the scenes, every way and seed. The results file keeps what it has of those that were not run there.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from records import RESULTS, earlier, write

from narvl.errors import DataError
from narvl.provenance import provenance, version
from narvl.tables.catalogue.references import LEADS, WAYS
from narvl.tables.plots import STYLE
from narvl.tables.record import RECORD

ROOT = Path(__file__).resolve().parents[1]
#: A model that says the scenes' captions in one wording reaches about 435; one that mixes wordings stays far below.
SETTLED = 400
_COLUMNS = 3
_VALIDATION = re.compile(r"valid on 'valid' subset .*\| cider ([0-9.]+) .*\| num_updates ([0-9]+)")


def curve(log: Path) -> dict[str, list[float]]:
    """Read CIDEr and the number of updates from the log of a training.

    Raises:
        DataError: no validation is in it.
    """
    found = {int(number): float(cider) for cider, number in _VALIDATION.findall(log.read_text(encoding="utf-8"))}
    if not found:
        raise DataError(f"{log}: no validation in it; is it the log of a training of captions?")
    return {"updates": sorted(found), "cider": [found[number] for number in sorted(found)]}


def settled_after(updates: list[float], cider: list[float]) -> float | None:
    """Return the first validated update at which a model has settled; None where it never has."""
    return next((update for update, value in zip(updates, cider, strict=True) if value >= SETTLED), None)


def collect(runs: Path, before: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every way's curves by seed, each with the commit of its run: those of ``runs`` beside the earlier ones."""
    ways: dict[str, dict[str, Any]] = {}
    for row, way in {**WAYS, **LEADS}.items():
        if way.own_texts or way.from_teacher:
            continue  # they start from trained models
        seeds = dict(before.get(row, {}))
        for record in sorted((runs / "captioning" / way.run).glob(f"seed*/{RECORD}")):
            made = json.loads(record.read_text(encoding="utf-8"))["provenance"]
            seeds[str(made["seed"])] = {**curve(record.parent / "log.txt"), "commit": version(made)}
        if seeds:
            ways[row] = dict(sorted(seeds.items(), key=lambda item: int(item[0])))
    return ways


def draw(ways: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw a panel a way, a line a seed."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        lines = math.ceil(len(ways) / _COLUMNS)
        figure, axes = pyplot.subplots(
            lines, _COLUMNS, figsize=(10, 2.1 * lines), sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        for axis, (row, seeds) in zip(axes.flat, ways.items(), strict=False):
            for seed, found in seeds.items():
                number = int(seed) - 1
                style = {
                    "marker": "os^Dv"[number % 5],
                    "linestyle": ("-", "--", ":")[number % 3],
                    "color": f"C{number}",
                }
                axis.plot(found["updates"], found["cider"], label=f"seed {seed}", markersize=3, **style)
            axis.axhline(SETTLED, color="#9aa5b1", linewidth=0.8)
            axis.set_title(row)
            axis.legend(fontsize=7, loc="upper left")
        for axis in axes.flat[len(ways) :]:
            axis.remove()
        figure.supxlabel("updates", fontsize=9)
        figure.supylabel("CIDEr in validation", fontsize=9)
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    """Write the curves and their picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=ROOT / "runs" / "tables" / "scenes", metavar="RUNS")
    args = parser.parse_args()
    ways = collect(args.runs, earlier("settling").get("ways", {}))
    if not ways:
        raise SystemExit(f"{args.runs}: no run of `narvl tables references` has ended there.")
    made = provenance(None, ["python", "benchmarks/settling.py"])
    write("settling", {"ways": ways, "provenance": made})
    draw(ways, RESULTS / "settling.svg")


if __name__ == "__main__":
    main()

"""Results files: written by what measures, read by tables.py, with a line that says where the figures come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from narvl.provenance import short_version, version

RESULTS = Path(__file__).resolve().parents[1] / "results"


def read(name: str) -> dict[str, Any]:
    """Read a results file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def earlier(name: str) -> dict[str, Any]:
    """Read what a results file has so far: nothing where it is not there."""
    return read(name) if (RESULTS / f"{name}.json").is_file() else {}


def write(name: str, record: dict[str, Any]) -> None:
    """Write a results file."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def source(name: str, record: dict[str, Any]) -> str:
    """Say where figures come from: file, commit, seed where one was drawn, machine."""
    made = record["provenance"]
    machine = made["machine"]
    seed = "" if made["seed"] is None else f"seed {made['seed']}, "
    commits = ", ".join(dict.fromkeys(map(short_version, _versions(record) or [version(made)])))
    return (
        f"Source: [results/{name}.json](results/{name}.json), commit {commits}, {seed}"
        f"{machine['cpu']}, {machine['cores']} cores, accelerator: {machine['accelerator']}."
    )


def _versions(record: dict[str, Any]) -> list[str]:
    """Return the commits of a record's parts, where they were made one by one."""
    parts = [part for value in record.values() if isinstance(value, dict) for part in value.values()]
    made = [part.get("provenance", part) for part in parts if isinstance(part, dict)]
    return [version(each) if "dirty" in each else each["commit"] for each in made if "commit" in each]

"""Reads results files for tables.py: the figures, and a line that says where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from narvl.provenance import short_version, version

RESULTS = Path(__file__).resolve().parents[1] / "results"


def read(name: str) -> dict[str, Any]:
    """Read a results file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def source(name: str, record: dict[str, Any]) -> str:
    """Say where figures come from: file, commit, seed where one was drawn, machine."""
    made = record["provenance"]
    machine = made["machine"]
    seed = "" if made["seed"] is None else f"seed {made['seed']}, "
    return (
        f"Source: [results/{name}.json](results/{name}.json), commit {short_version(version(made))}, {seed}"
        f"{machine['cpu']}, {machine['cores']} cores, accelerator: {machine['accelerator']}."
    )

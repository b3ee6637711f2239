"""Builds the tables of docs/hardening.md from the results files of benchmarks/hardening."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import records
from tabulate import tabulate

_NOT_RUN = "Not run yet."
_TRENDS = {
    "main_mb": "memory of the trainer, MB",
    "workers_mb": "memory of the workers, MB",
    "handles": "open files",
    "step_ms": "time of an update, ms",
}


def interruptions() -> str:
    """Build the table of stopped commands: tries and failures by command and stop."""
    return _section("interruptions", _interruptions)


def fuzzing() -> str:
    """Build the table of the fuzzer's targets."""
    return _section("fuzz", _fuzzing)


def cases() -> str:
    """Build the table of all cases, before the hardening and now."""
    return _section("hardening_cases", _cases)


def long_run() -> str:
    """Build the table of the long training's trends."""
    return _section("long_run", _long_run)


def advisories() -> str:
    """Build the list of advisories of pinned packages."""
    return _section("advisories", _advisories)


#: By the names of the markers on the page.
SECTIONS: dict[str, Callable[[], str]] = {
    "hardening-cases": cases,
    "hardening-interruptions": interruptions,
    "hardening-fuzz": fuzzing,
    "hardening-long-run": long_run,
    "hardening-advisories": advisories,
}


def _section(name: str, build: Callable[[dict[str, Any]], str]) -> str:
    if not (records.RESULTS / f"{name}.json").is_file():
        return _NOT_RUN
    record = records.read(name)
    return f"{build(record)}\n\n{records.source(name, record)}"


def _table(headers: list[str], rows: list[list[Any]]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github")


def _cases(record: dict[str, Any]) -> str:
    rows = []
    for case, found in record["cases"].items():
        before, now = found["before"], found["now"]
        then = str(before["failures"]) if before["tries"] else "not there"
        if 0 < before["tries"] < now["tries"]:
            then += f" of {before['tries']}"
        rows.append([case, now["tries"], then, now["failures"]])
    headers = ["case", "tries", f"failures in {record['before']}", "failures now"]
    return _table(headers, rows) + (
        "\n\nA try is a test. One fails in the earlier version where the case goes wrong, or where the error does not "
        "name what today's names; *not there*, and left out where fewer tries are named: tests of parts that the "
        "earlier version has not."
    )


def _advisories(record: dict[str, Any]) -> str:
    packages = record["packages"]
    unknown = [name for name, package in packages.items() if package["unknown"]]
    found = [[name, package["version"], id_] for name, package in packages.items() for id_ in package["advisories"]]
    said = f"{len(packages) - len(unknown)} of {len(packages)} pinned packages were answered for: "
    said += _table(["package", "version", "advisory"], found).join(("\n\n", "\n\n")) if found else "no known advisory. "
    return said + (f"Not answered for: {', '.join(unknown)}." if unknown else "")


def _interruptions(record: dict[str, Any]) -> str:
    totals = record["totals"]
    stops = list(dict.fromkeys(total["stop"] for total in totals))
    rows = []
    for kind in dict.fromkeys(total["kind"] for total in totals):
        found = {total["stop"]: total for total in totals if total["kind"] == kind}
        cells = [f"{found[stop]['failures']} of {found[stop]['tries']}" if stop in found else "-" for stop in stops]
        rows.append([kind, *cells])
    tries, failures = (sum(total[key] for total in totals) for key in ("tries", "failures"))
    return f"{failures} of {tries} stopped runs failed.\n\n" + _table(["failures", *stops], rows)


def _fuzzing(record: dict[str, Any]) -> str:
    rows = [
        [name, f"{found['examples']:,}", f"{found['seconds'] / 60:.1f}", len(found["outcomes"]), len(crashes)]
        for name, found in record["targets"].items()
        for crashes in [found["unnamed_crashes"]]
    ]
    return _table(["target", "inputs", "minutes", "different outcomes", "unnamed crashes"], rows)


def _long_run(record: dict[str, Any]) -> str:
    rows = [
        [_TRENDS[name], *(f"{trend[key]:.3g}" for key in ("start", "end", "slope", "error"))]
        for name, trend in record["trends"].items()
    ]
    done = (
        f"{record['updates']:,} updates, {record['epochs']} epochs, {record['validations']} validations, "
        f"{record['checkpoints']} checkpoints, {record['seconds'] / 60:.0f} minutes.\n\n"
    )
    headers = ["", "after the warm-up", "at the end", "slope per 1,000 updates", "its standard error"]
    return done + _table(headers, rows)

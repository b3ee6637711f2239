"""Rules of the house that no linter knows: scripts that run anywhere, pinned packages, no machine's own paths."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [
    *sorted((ROOT / "run_scripts").rglob("*.sh")),
    *sorted((ROOT / "benchmarks").rglob("*.sh")),
    ROOT / ".ci" / "run",
]
SECTIONS = ["build", "torch", "fairseq", "run", "plot", "test"]


def tracked_files() -> list[Path]:
    """The files that belong to the repository: known to git, or new and not ignored."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_names_a_path_of_one_machine() -> None:
    absolute = re.compile(rb"(?<![\w./~$}-])/(?:home|root|tmp|work|Users|mnt|scratch)/[\w{$]")
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data:
            lines = enumerate(data.splitlines(), start=1)
            found += [f"{path.relative_to(ROOT)}:{number}" for number, line in lines if absolute.search(line)]
    assert not found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_sound(script: Path) -> None:
    first, second, *rest = script.read_text().splitlines()
    subprocess.run(["bash", "-n", str(script)], check=True)
    if first.startswith("# Sourced by"):  # a file of functions: options are the business of the script that reads it
        return
    assert first == "#!/usr/bin/env bash"
    assert re.match(r"# \w.{20,}", second), "the second line says what the script is for"
    assert any(re.match(r"set -eu\w* (-o )?pipefail", line) for line in rest), "a failed command must end the script"
    assert os.access(script, os.X_OK)


def test_requirements_pin_every_package_once_in_a_known_section() -> None:
    sections: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if heading := re.match(r"# \[(\w+)\]", line):
            sections[heading[1]] = []
        elif line and not line.startswith("#"):
            name, version = re.fullmatch(r"([a-z0-9-]+)==(\d[\w.]*)(?:;\S+)?", line).groups()  # type: ignore[union-attr]
            assert version
            sections[list(sections)[-1]].append(name)
    assert list(sections) == SECTIONS
    assert sections["torch"][0] == "torch"  # setup.sh names the step by it
    names = [name for section in sections.values() for name in section]
    assert len(names) == len(set(names))


def test_figures_in_readme_are_those_of_the_results_files() -> None:
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], check=True)

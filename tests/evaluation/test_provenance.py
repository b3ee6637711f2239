"""Provenance: a command without a computer's folders, and the commit of the package's own checkout alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from narvl import provenance as module
from narvl.provenance import portable_command, provenance, short_version, source_version, version


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q", str(tmp_path / "repository"))
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "first")
    return package


def test_absolute_paths_leave_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [
        f"{tmp_path}/venv/bin/narvl",
        "score",
        "--results",
        f"{tmp_path}/runs/generate-test.txt",
        "--data=/data/coco/scenes",
    ]
    argv += ["--run", f"AR teacher={tmp_path}/runs/ar", "--run", "NARVL=runs/narvl"]
    expected = (
        'narvl score --results runs/generate-test.txt --data=scenes --run "AR teacher=runs/ar" --run NARVL=runs/narvl'
    )
    assert portable_command(argv) == expected


def test_record_is_json_and_complete():
    record = provenance(seed=3, argv=["narvl", "report"])
    assert json.loads(json.dumps(record)) == record
    assert (record["command"], record["seed"]) == ("narvl report", 3)
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["cpu"] and record["machine"]["accelerator"]
    assert record["versions"]["torch"][0].isdigit()
    assert record["date"].endswith("+00:00")


def test_clean_and_changed_checkout(checkout):
    commit, dirty = source_version(checkout)
    assert len(commit) == 40 and dirty is False
    (checkout / "new.py").write_text("")
    assert source_version(checkout) == (commit, True)
    (checkout / "new.py").unlink()
    (checkout.parent / "results.txt").write_text("")
    assert source_version(checkout) == (commit, False)
    (checkout / "__init__.py").write_text("changed = True\n")
    assert source_version(checkout) == (commit, True)


def test_what_commands_write_from_figures_leaves_the_version_clean(checkout):
    root = checkout.parent
    written = [root / "README.md", root / "results" / "scenes" / "table1.csv", root / "docs" / "tables_scenes.md"]
    for path in [*written, checkout / "results"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "second")
    for path in written:
        path.write_text("new")
    assert source_version(checkout)[1] is False
    (checkout / "results").write_text("new")
    assert source_version(checkout)[1] is True, "another folder of that name"


def test_a_changed_version_is_marked_however_short():
    assert version({"commit": "c" * 40, "dirty": False}) == version({"commit": "c" * 40, "dirty": None}) == "c" * 40
    assert short_version(version({"commit": "c" * 40, "dirty": True})) == "c" * 10 + "+"
    assert short_version("unknown") == "unknown"


def test_an_installed_copy_in_another_checkout_has_no_commit(checkout):
    installed = checkout.parent / ".venv" / "narvl"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert source_version(installed) == ("unknown", None)


def test_no_checkout_no_commit_no_git(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("")
    assert source_version(tmp_path) == ("unknown", None)
    git(tmp_path, "init", "-q", str(tmp_path))
    git(tmp_path, "add", ".")
    assert source_version(tmp_path) == ("unknown", None)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert source_version(tmp_path) == ("unknown", None)


def test_cpu_model_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Path", lambda *parts: tmp_path / "missing")
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.platform, "machine", lambda: "riscv64")
    assert module.cpu_model() == "riscv64"

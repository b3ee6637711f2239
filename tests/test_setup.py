"""run_scripts/setup.sh says what is missing before it changes anything; fairseq's build leaves torch extensions out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without .venv, in a folder whose name holds a blank."""
    checkout = tmp_path / "a check out"
    shutil.copytree(ROOT / "run_scripts", checkout / "run_scripts")
    for name in "requirements.txt", "setup.py":
        shutil.copy(ROOT / name, checkout)
    return checkout


def run_setup(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # pip would find no index: were setup.sh to start building by mistake, it would fail rather than download.
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", **variables}
    command = ["bash", str(checkout / "run_scripts" / "setup.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def fake_command(folder: Path, name: str, script: str) -> str:
    """Write a command that comes first on the returned PATH."""
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_help_and_unknown_arguments(checkout: Path) -> None:
    result = run_setup(checkout, "--help")
    assert result.returncode == 0
    assert "Usage: run_scripts/setup.sh" in result.stdout
    assert "NARVL_TORCH" in result.stdout
    result = run_setup(checkout, "--fast")
    assert result.returncode == 2
    assert "unknown argument '--fast'" in result.stderr


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("echo CPython 3.9.1", "is 'CPython 3.9.1'; narvl needs CPython 3.11 or 3.12"),
        ("echo PyPy 3.11.1", "is 'PyPy 3.11.1'; narvl needs CPython 3.11 or 3.12"),
        ("exit 1", "is not a Python that runs; narvl needs CPython 3.11 or 3.12"),
        ('case "$*" in *venv*) exit 1;; *) echo CPython 3.11.4;; esac', "apt-get install python3-venv"),
        ('case "$*" in *Python.h*) exit 1;; *) echo CPython 3.11.4;; esac', "apt-get install python3-dev"),
    ],
)
def test_unfit_python(checkout: Path, tmp_path: Path, python: str, message: str) -> None:
    fake_command(tmp_path / "bin", "python", python)
    result = run_setup(checkout, PYTHON=str(tmp_path / "bin" / "python"), CXX="true")
    assert result.returncode == 2
    assert message in result.stderr
    assert not (checkout / ".venv").exists()


def test_no_compiler(checkout: Path, tmp_path: Path) -> None:
    fake_command(tmp_path / "bin", "python", "echo CPython 3.11.4")
    result = run_setup(checkout, PYTHON=str(tmp_path / "bin" / "python"), CXX="no-such-compiler")
    assert result.returncode == 2
    assert "no C++ compiler (no-such-compiler)" in result.stderr
    assert "apt-get install g++" in result.stderr


def test_too_little_disk(checkout: Path, tmp_path: Path) -> None:
    path = fake_command(tmp_path / "bin", "df", "printf 'Filesystem\\ndisk 9 9 900000 9 -\\n'")
    result = run_setup(checkout, PATH=path, CXX="true")
    assert result.returncode == 2
    assert "has 878 MB of free disk" in result.stderr


def test_an_environment_made_by_somebody_else_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "precious").touch()
    result = run_setup(checkout, CXX="true")
    assert result.returncode == 2
    assert "was not built by this script" in result.stderr
    assert (checkout / ".venv" / "precious").exists()


def test_a_failed_step_shows_the_log_and_leaves_no_stamp(checkout: Path) -> None:
    result = run_setup(checkout, CXX="true")
    assert result.returncode == 2
    assert "No matching distribution found for setuptools" in result.stdout
    assert "'build tools' failed" in result.stderr
    assert not (checkout / ".venv" / "setup.stamp").exists()


def test_fairseq_is_built_without_its_torch_extensions() -> None:
    code = """
from setuptools import Distribution, Extension
from torch.utils import cpp_extension
extensions = [Extension("kept", ["a.cpp"]), cpp_extension.CppExtension("dropped", ["b.cpp"])]
distribution = Distribution({"ext_modules": extensions, "cmdclass": {"build_ext": cpp_extension.BuildExtension}})
command = distribution.get_command_obj("build_ext")
command.ensure_finalized()
assert [extension.name for extension in command.extensions] == ["kept"]
assert [extension.name for extension in distribution.ext_modules] == ["kept"]
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "run_scripts" / "build_stubs")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

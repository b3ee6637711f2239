"""METEOR and SPICE: real METEOR where Java is, stand-in Java programs for every way in which they fail."""

from __future__ import annotations

import contextlib
import io
import stat
import subprocess
import urllib.error

import pytest

from narvl.evaluation import java, java_metrics
from narvl.evaluation.java_metrics import MetricNotRunError, meteor, spice

REFERENCES = {0: ["a dog runs", "the dog is running"], 1: ["a cat"]}
HYPOTHESES = {0: ["a dog runs"], 1: ["two birds"]}


def install_java(folder, monkeypatch, version, script):
    """Put a stand-in ``java`` first on the path: it tells its version, and runs ``script`` for all else."""
    program = folder / "java"
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -version ]; then echo \'openjdk version "{version}" 2020-01-01\' >&2; exit 0; fi\n'
        f"{script}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.fixture
def spice_models(tmp_path, monkeypatch):
    """Pretend that SPICE lies in a folder of ours, with its models."""
    folder = tmp_path / "pycocoevalcap" / "spice"
    (folder / "lib").mkdir(parents=True)
    for name in ("spice-1.0.jar", "lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar"):
        (folder / name).touch()
    monkeypatch.setattr(java_metrics, "SPICE_FOLDER", folder)
    monkeypatch.setattr(java_metrics.coco_models, "SPICEDIR", str(folder))
    monkeypatch.setattr(java_metrics.coco_spice, "__file__", str(folder / "spice.py"))
    return folder


@pytest.mark.parametrize(("version", "major"), [("1.8.0_292", 8), ("11.0.2", 11), ("17.0.15", 17), ("21", 21)])
def test_java_version(tmp_path, monkeypatch, version, major):
    install_java(tmp_path, monkeypatch, version, "exit 1")
    assert java.java_version() == major


def test_a_java_that_does_not_run_is_no_java(tmp_path, monkeypatch):
    install_java(tmp_path, monkeypatch, "x", "exit 1")
    (tmp_path / "java").write_text("#!/bin/sh\necho 'No Java runtime present' >&2\nexit 1\n")
    assert java.java_version() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert java.java_version() is None


def test_java_options_are_set_for_the_block_alone(monkeypatch):
    monkeypatch.delenv("JAVA_TOOL_OPTIONS", raising=False)
    with java.java_options("-Da=b") as environment:
        assert environment["JAVA_TOOL_OPTIONS"] == "-Da=b"
    assert "JAVA_TOOL_OPTIONS" not in environment
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1G")
    with java.java_options("-Da=b") as environment:
        assert environment["JAVA_TOOL_OPTIONS"] == "-Xmx1G -Da=b"
    assert environment["JAVA_TOOL_OPTIONS"] == "-Xmx1G"


@pytest.mark.slow
@pytest.mark.skipif(java.java_version() is None, reason="needs Java")
def test_meteor(monkeypatch, capfd):
    started = []
    popen = subprocess.Popen

    def record(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", record)
    references = {0: ["a dog runs over grass"], 1: ["two cats ||| sleep"], 2: ["a caf\u00e9"]}
    same = meteor(references, {0: ["a dog runs over grass"], 1: ["two cats sleep"], 2: ["a caf\u00e9"]})
    worse = meteor(references, {0: ["a dog is running"], 1: [""], 2: ["a bar"]})
    assert same == pytest.approx(1.0)
    assert 0 < worse < 0.5
    assert [process.poll() is not None for process in started if "-stdio" in process.args] == [True, True]
    assert capfd.readouterr() == ("", "")


def test_meteor_whose_process_dies_is_not_run_and_does_not_hang(tmp_path, monkeypatch):
    install_java(tmp_path, monkeypatch, "17", "echo 'Could not reserve enough space' >&2; exit 1")
    with pytest.raises(MetricNotRunError, match="METEOR's Java process failed .*Could not reserve enough space"):
        meteor(REFERENCES, HYPOTHESES)


def test_meteor_whose_process_talks_nonsense_is_not_run(tmp_path, monkeypatch):
    install_java(tmp_path, monkeypatch, "17", "while read line; do echo nonsense; done")
    with pytest.raises(MetricNotRunError, match="METEOR's Java process failed .*nonsense"):
        meteor(REFERENCES, HYPOTHESES)


def test_meteor_without_its_data(tmp_path, monkeypatch):
    install_java(tmp_path, monkeypatch, "17", "exit 1")
    folder = tmp_path / "pycocoevalcap" / "meteor"
    folder.mkdir(parents=True)
    monkeypatch.setattr(java_metrics, "METEOR_FOLDER", folder)
    with pytest.raises(MetricNotRunError, match=r"^pycocoevalcap/meteor/meteor-1.5.jar is missing"):
        meteor(REFERENCES, HYPOTHESES)


# Stands for SPICE: notes its options, and gives each image the F-score 0.25 or, beyond the first, 0.75.
FAKE_SPICE = """
echo "$JAVA_TOOL_OPTIONS" > "$(dirname "$0")/options"
echo Parsing reference captions
while [ "$1" != -out ]; do shift; done
echo '[{"image_id": 0, "scores": {"All": {"f": 0.25}}}, {"image_id": 1, "scores": {"All": {"f": 0.75}}}]' > "$2"
"""


@pytest.mark.parametrize(("version", "opened"), [("1.8.0_1", False), ("17.0.1", True)])
def test_spice(tmp_path, monkeypatch, spice_models, capfd, version, opened):
    install_java(tmp_path, monkeypatch, version, FAKE_SPICE)
    assert spice(REFERENCES, HYPOTHESES) == pytest.approx(0.5)
    assert ("--add-opens=java.base/java.lang=ALL-UNNAMED" in (tmp_path / "options").read_text()) == opened
    assert capfd.readouterr() == ("", "")


def test_spice_that_fails_says_what_java_said(tmp_path, monkeypatch, spice_models, capfd):
    install_java(tmp_path, monkeypatch, "17.0.1", "echo InaccessibleObjectException >&2; exit 1")
    with pytest.raises(MetricNotRunError, match=r"SPICE failed on Java 17 \(CalledProcessError\).*InaccessibleObject"):
        spice(REFERENCES, HYPOTHESES)
    assert capfd.readouterr() == ("", "")


def test_spice_never_downloads_unasked(tmp_path, monkeypatch, spice_models):
    install_java(tmp_path, monkeypatch, "17", "exit 1")
    (spice_models / "lib" / "stanford-corenlp-3.6.0-models.jar").unlink()
    monkeypatch.setattr(
        java_metrics.coco_models, "urlretrieve", lambda *args, **kwargs: pytest.fail("a download began")
    )
    reason = r"^stanford-corenlp-3.6.0-models.jar missing in pycocoevalcap/spice/lib; --spice downloads"
    with pytest.raises(MetricNotRunError, match=reason):
        spice(REFERENCES, HYPOTHESES)


def test_spice_without_a_network(tmp_path, monkeypatch, spice_models, capfd):
    install_java(tmp_path, monkeypatch, "17", "exit 1")
    (spice_models / "lib" / "stanford-corenlp-3.6.0-models.jar").unlink()

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(java_metrics.coco_models, "urlretrieve", unreachable)
    with pytest.raises(MetricNotRunError, match="could not be downloaded .*Name or service not known"):
        spice(REFERENCES, HYPOTHESES, download=True)
    assert capfd.readouterr() == ("", "")


def test_output_comes_back_after_it_was_captured(capfd):
    with contextlib.suppress(ZeroDivisionError), java_metrics._captured_output() as output:
        subprocess.run(["sh", "-c", "echo hidden; echo hidden >&2"], check=True)
        output.seek(0, io.SEEK_SET)
        assert output.read() == b"hidden\nhidden\n"
        raise ZeroDivisionError
    subprocess.run(["sh", "-c", "echo shown"], check=True)
    assert capfd.readouterr() == ("shown\n", "")

"""The two caption metrics that run in Java, METEOR and SPICE: what each needs, and a score or the reason for none."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pycocoevalcap.meteor import meteor as coco_meteor
from pycocoevalcap.spice import get_stanford_models as coco_models
from pycocoevalcap.spice import spice as coco_spice

from narvl.evaluation.java import java_options, java_version

logger = logging.getLogger(__name__)

METEOR_FOLDER = Path(coco_meteor.__file__).parent
SPICE_FOLDER = Path(coco_spice.__file__).parent

_NO_JAVA = "needs Java: install a runtime of version 8 or later (Debian: default-jre-headless)"
_UTF8 = "-Dfile.encoding=UTF-8"
# SPICE's serializer reaches into Java's own classes, which Java 9 and later closed to it.
_OPENED = ("lang", "math", "net", "text", "time", "util", "util.concurrent")
_SPICE_OPTIONS = (*(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED),)


class MetricNotRunError(Exception):
    """A metric cannot be computed here. The message is the reason, for the user, in one line."""


def meteor(references: Mapping[int, list[str]], hypotheses: Mapping[int, list[str]]) -> float:
    """Compute METEOR 1.5 by pycocoevalcap; its Java process has ended when this returns.

    Args:
        references: tokenized references of each id.
        hypotheses: the tokenized hypothesis of each id, as a list of one; the same ids in the same order.

    Returns:
        The corpus score, in [0, 1].

    Raises:
        MetricNotRunError: Java or a file is missing, or the Java process fails.
    """
    if java_version() is None:
        raise MetricNotRunError(_NO_JAVA)
    _require(METEOR_FOLDER, coco_meteor.METEOR_JAR, "data/paraphrase-en.gz")
    with java_options(_UTF8):
        scorer = coco_meteor.Meteor()
    try:
        # "|||" separates the fields of a line sent to METEOR, and pycocoevalcap removes it from hypotheses alone.
        plain = {index: [text.replace("|||", "") for text in texts] for index, texts in references.items()}
        score, _ = scorer.compute_score(plain, hypotheses)
    except (OSError, ValueError) as error:
        scorer.meteor_p.kill()
        said = scorer.meteor_p.stderr.read().decode(errors="replace").strip()
        raise MetricNotRunError(f"METEOR's Java process failed ({error}): {said[-200:]!r}") from error
    finally:
        _end(scorer)
    return float(score)


def _end(scorer: coco_meteor.Meteor) -> None:
    """End METEOR's process, and free the lock that an error leaves taken and the scorer's destructor would wait for."""
    if scorer.lock.locked():
        scorer.lock.release()
    with contextlib.suppress(BrokenPipeError):
        scorer.meteor_p.stdin.close()
    scorer.meteor_p.kill()
    scorer.meteor_p.wait()
    scorer.meteor_p.stdout.close()
    scorer.meteor_p.stderr.close()


def spice(references: Mapping[int, list[str]], hypotheses: Mapping[int, list[str]], *, download: bool = False) -> float:
    """Compute SPICE 1.0 by pycocoevalcap.

    Args:
        references: tokenized references of each id.
        hypotheses: the tokenized hypothesis of each id, as a list of one; the same ids.
        download: fetch the Stanford CoreNLP models (about 400 MB, into pycocoevalcap's folder) when they are missing.

    Returns:
        The mean F-score, in [0, 1].

    Raises:
        MetricNotRunError: Java or the models are missing, or SPICE fails.
    """
    version = java_version()
    if version is None:
        raise MetricNotRunError(_NO_JAVA)
    _require(SPICE_FOLDER, coco_spice.SPICE_JAR)
    _provide_models(download)
    with _captured_output() as output, java_options(_UTF8, *(_SPICE_OPTIONS if version >= 9 else ())):
        try:
            score, _ = coco_spice.Spice().compute_score(references, hypotheses)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            reason = f"SPICE failed on Java {version} ({type(error).__name__}); it was made for Java 8. It said: "
            raise MetricNotRunError(reason + repr(said[:300])) from error
    return float(score)


def _provide_models(download: bool) -> None:
    models = [SPICE_FOLDER / coco_models.SPICELIB / f"{coco_models.JAR}{suffix}.jar" for suffix in ("", "-models")]
    missing = [path for path in models if not path.is_file()]
    if not missing:
        return
    names = " and ".join(path.name for path in missing)
    if not download:
        raise MetricNotRunError(
            f"{names} missing in {_shown(models[0].parent)}; --spice downloads them once (about 400 MB)"
        )
    logger.info("downloading the Stanford CoreNLP models for SPICE, about 400 MB")
    # pycocoevalcap looks for the first file alone, so half a download would never be completed.
    models[0].unlink(missing_ok=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco_models.get_stanford_models()
    except (OSError, zipfile.BadZipFile) as error:
        raise MetricNotRunError(f"{names} could not be downloaded from nlp.stanford.edu ({error})") from error


def _require(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise MetricNotRunError(f"{_shown(folder / name)} is missing: install pycocoevalcap again")


def _shown(path: Path) -> str:
    """Name a file from its package on: messages end up in results files, which should not show a computer's folders."""
    return "/".join(path.parts[path.parts.index("pycocoevalcap") :])


@contextlib.contextmanager
def _captured_output() -> Iterator[BinaryIO]:
    """Send stdout and stderr of this process and of its children (SPICE's Java process inherits them) into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            yield output
        finally:
            for descriptor, copy in enumerate(kept, start=1):
                os.dup2(copy, descriptor)
                os.close(copy)

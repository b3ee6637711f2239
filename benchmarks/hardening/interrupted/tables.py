"""Tables: the runner of narvl tables, with jobs that cost nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from interrupted.work import Work

#: What each job needs.
_JOBS = {"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("c",), "f": ("d",), "g": ("e", "f"), "h": ("g",)}
_RUN = f"""
import sys
from pathlib import Path
from narvl.tables.job import Job
from narvl.tables.runner import Runner
out = Path(sys.argv[1])
mark = f"touch {{out}}/order/$(date +%s%N)"
step = f"{{mark}}-begin-$0 && sleep 0.4 && echo figures of $0 > {{out}}/$0.csv && {{mark}}-end-$0"
jobs = [Job(name, "train", (("bash", "-c", step, name),), needs, 1) for name, needs in {_JOBS!r}.items()]
Runner(out / "runs", 2).run(jobs)
"""


class Tables(Work):
    """Eight jobs that need one another, two at a time."""

    def __init__(self, folder: Path, seed: int) -> None:
        pass  # nothing to read

    def begin(self, out: Path) -> None:
        """Make the folder of empty files, one for each begin and end of a job."""
        (out / "order").mkdir(parents=True)

    def command(self, out: Path) -> list[str]:
        """Run the jobs."""
        return [sys.executable, "-c", _RUN, str(out)]

    def begun(self, out: Path) -> bool:
        """Tell whether a job has begun."""
        return bool(_order(out))

    def damages(self, out: Path, whole: Path) -> list[str]:
        """Read every record, and the file that its job has made."""
        found = []
        for name in self._recorded(out):
            try:
                json.loads((out / "runs" / name / "job.json").read_text())
            except ValueError:
                found.append(f"{name}/job.json does not load")
            if not (out / f"{name}.csv").is_file():
                found.append(f"{name} is recorded but has made nothing")
        return found

    def state(self, out: Path) -> tuple[list[str], int]:
        """Return the jobs that are recorded, and how often one began or ended."""
        return self._recorded(out), len(_order(out))

    def repeats(self, state: tuple[list[str], int], out: Path, lines: list[str]) -> list[str]:
        """Find jobs that were done again, and jobs that did not wait for what they need."""
        recorded, before = state
        order = _order(out)
        found = [f"{name} was done again" for name in recorded if f"begin-{name}" in order[before:]]
        for name, needs in _JOBS.items():
            for need in needs:
                if f"end-{need}" not in order[: order.index(f"begin-{name}")]:
                    found.append(f"{name} began before {need} had ended")
        return found

    def differences(self, out: Path, whole: Path) -> list[str]:
        """Compare the files that the jobs have made."""
        found = [f"{name} is not recorded" for name in _JOBS if name not in self._recorded(out)]
        for path in sorted(whole.glob("*.csv")):
            made = out / path.name
            if not made.is_file() or made.read_bytes() != path.read_bytes():
                found.append(f"{path.name} differs")
        return found

    @staticmethod
    def _recorded(out: Path) -> list[str]:
        return sorted(path.parent.name for path in (out / "runs").glob("*/job.json"))


def _order(out: Path) -> list[str]:
    """Return what began and ended, in order: `begin-a`, ..."""
    return [path.name.partition("-")[2] for path in sorted((out / "order").iterdir())]

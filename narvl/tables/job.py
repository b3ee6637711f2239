"""A job: commands that are run once; a plan: jobs in the order of their needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: The repository, in which commands run.
ROOT = Path(__file__).resolve().parents[2]
#: What jobs do.
KINDS = ("data", "train", "distil", "decode", "time")


@dataclass(frozen=True)
class Job:
    """Commands that are run once, in order, in the repository's folder.

    Attributes:
        name: its folder, below that of all runs.
        kind: one of ``KINDS``.
        commands: words of each. A command that was interrupted goes on, or begins again, when it is given once more.
        needs: names of the jobs whose files it reads.
        seed: behind its random numbers; None where none are drawn.
    """

    name: str
    kind: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    seed: int | None = None

    @property
    def alone(self) -> bool:
        """Whether nothing else may run meanwhile."""
        return self.kind == "time"


class Plan:
    """Jobs in an order in which they can be run; a job that several tables need is in it once."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def add(self, job: Job) -> Job:
        """Add a job, all of whose needs were added before.

        Raises:
            ValueError: another job has its name, or a need is missing.
        """
        known = self._jobs.setdefault(job.name, job)
        if known != job:
            raise ValueError(f"two jobs are called {job.name}: {known} and {job}")
        missing = [name for name in job.needs if name not in self._jobs]
        if missing:
            raise ValueError(f"{job.name} needs {', '.join(missing)}, which come later or never")
        return job

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __getitem__(self, name: str) -> Job:
        return self._jobs[name]

    def __len__(self) -> int:
        return len(self._jobs)

    def behind(self, names: Iterable[str]) -> list[Job]:
        """Return jobs and all that they need, in the plan's order."""
        wanted, open_ = set(), list(names)
        while open_:
            name = open_.pop()
            if name not in wanted:
                wanted.add(name)
                open_ += self._jobs[name].needs
        return [job for job in self if job.name in wanted]


def word(path: Path) -> str:
    """Write a path for a command, which runs in the repository's folder."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

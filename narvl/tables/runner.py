"""Runs jobs: each once, several at a time; stopped at any moment, the next call goes on where it was."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from narvl.errors import UsageError
from narvl.files import named_when_full
from narvl.provenance import provenance, usable_cores
from narvl.tables.job import ROOT, Job
from narvl.tables.recipes import settings
from narvl.tables.record import read_record, write_record

_LOG = "log.txt"
_LAST_LINES = 8


class Runner:
    """Runs jobs.

    Args:
        runs: folder of all runs.
        parallel: how many jobs may run at a time; each has its share of the cores.
    """

    def __init__(self, runs: Path, parallel: int = 1) -> None:
        self._runs = runs
        self._parallel = parallel
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()
        #: Whether a command is being started: who stops it meanwhile lets it be known first.
        self.starting = False

    def run(self, jobs: Sequence[Job], after: Callable[[Job], None] = lambda job: None) -> None:
        """Run what has not ended well before.

        A job that fails takes with it those that need it; the others go on.

        Args:
            jobs: in an order in which they can be run.
            after: called with each job that has ended well.

        Raises:
            UsageError: jobs failed; the message names them and their logs.
        """
        from tqdm import tqdm

        waiting, failed = self._unfinished(jobs)
        bar = tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc="jobs", unit="job", disable=None)
        running: dict[Future[None], Job] = {}
        with bar, _signals_stop(self), ThreadPoolExecutor(self._parallel) as pool:
            for reason in failed.values():
                bar.write(reason, file=sys.stderr)
            try:
                while waiting or running:
                    for job in self._ready(waiting, list(running.values()), failed):
                        waiting.remove(job)
                        running[pool.submit(self.run_one, job)] = job
                    bar.set_postfix_str(", ".join(job.name for job in running.values()))
                    if not running:
                        break  # what is left needs something that failed
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        try:
                            future.result()
                        except UsageError as error:
                            failed[job.name] = str(error)
                            bar.write(str(error), file=sys.stderr)
                        else:
                            after(job)
                        bar.update()
            finally:
                self.stop()
        if failed:
            left = f"; not run, because they need one of them: {', '.join(job.name for job in waiting)}"
            raise UsageError(f"failed: {', '.join(failed)}{left if waiting else ''}. See above, and each one's {_LOG}.")

    def run_one(self, job: Job) -> None:
        """Run a job, unless it has ended well before; where another process runs it, wait for that one.

        Raises:
            UsageError: a command failed (the message has the last lines of its log), or the disk is full.
        """
        folder = self._runs / job.name
        folder.mkdir(parents=True, exist_ok=True)
        with named_when_full(folder), _signals_stop(self), _lock(folder) as lock:
            if read_record(self._runs, job) is not None:
                return
            attempts = folder / "attempts"
            with attempts.open("a", encoding="utf-8") as file:
                file.write(f"{time.time():.0f}\n")
            start = time.monotonic()
            # What runs is this version, whatever is checked out meanwhile.
            made, recipe = provenance(job.seed, job.commands[0]), settings(job)
            for command in job.commands:
                self._call(command, folder, lock, alone=job.alone)
            took = time.monotonic() - start
            write_record(self._runs, job, recipe, made, took, len(attempts.read_text(encoding="utf-8").splitlines()))

    def stop(self) -> None:
        """End the commands that are running, and what they have started."""
        self._stopped.set()
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    def _unfinished(self, jobs: Sequence[Job]) -> tuple[list[Job], dict[str, str]]:
        """Return the jobs that have not ended well; and the reasons not to run those with records of something else."""
        waiting, failed = [], {}
        for job in jobs:
            try:
                if read_record(self._runs, job) is None:
                    waiting.append(job)
            except UsageError as error:
                failed[job.name] = str(error)
        return waiting, failed

    def _ready(self, waiting: Sequence[Job], running: Sequence[Job], failed: dict[str, str]) -> list[Job]:
        """Choose the jobs to start now."""
        if any(job.alone for job in running):
            return []
        open_ = {job.name for job in [*waiting, *running]} | failed.keys()
        ready = [job for job in waiting if open_.isdisjoint(job.needs)]
        together = [job for job in ready if not job.alone]
        if together or running:
            return together[: self._parallel - len(running)]
        return ready[:1]

    def _call(self, command: Sequence[str], folder: Path, lock: int, alone: bool) -> None:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        if self._parallel > 1 and not alone:
            environment["OMP_NUM_THREADS"] = str(max(1, usable_cores() // self._parallel))
        log = folder / _LOG
        with log.open("ab") as file:
            if self._stopped.is_set():
                raise UsageError(f"{folder.name}: stopped")
            self.starting = True
            # What the command starts keeps the lock: should this process die, nobody begins the job beside them.
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                start_new_session=True,
            )
            self._processes.add(process)
            self.starting = False
            if self._stopped.is_set():  # meanwhile, by who did not see this process
                self.stop()
            try:
                code = process.wait()
            except KeyboardInterrupt:  # which the command, in a session of its own, does not get
                self.stop()
                raise
            finally:
                self._processes.discard(process)
        if code:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            raise UsageError(f"{' '.join(command)}: exit code {code}. The last lines of {log}:\n" + "\n".join(lines))


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """Hold a job's lock, waiting for whoever has it."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextlib.contextmanager
def _signals_stop(runner: Runner) -> Iterator[None]:
    """Let SIGTERM end the commands too, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        runner.stop()
        if not runner.starting:
            raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

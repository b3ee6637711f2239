"""Jobs are run once, in order, several at a time, whatever stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from narvl.errors import UsageError
from narvl.tables.job import Job, Plan
from narvl.tables.recipes import settings
from narvl.tables.record import read_record
from narvl.tables.runner import Runner


def shell(name: str, script: str, *needs: str, kind: str = "train", seed: int | None = 1) -> Job:
    return Job(name, kind, (("bash", "-c", script),), needs, seed)


def test_a_plan_keeps_order_and_refuses_what_does_not_fit() -> None:
    plan = Plan()
    first = plan.add(shell("a", "true"))
    assert plan.add(shell("a", "true")) == first and len(plan) == 1
    plan.add(shell("b", "true", "a"))
    plan.add(shell("c", "true"))
    assert [job.name for job in plan.behind(["b"])] == ["a", "b"]
    with pytest.raises(ValueError, match="two jobs are called a"):
        plan.add(shell("a", "false"))
    with pytest.raises(ValueError, match="needs d"):
        plan.add(shell("e", "true", "d"))


def test_jobs_are_run_once_after_what_they_need(tmp_path: Path) -> None:
    note = f"echo $0 >> {tmp_path / 'order'}"
    jobs = [
        Job(name, "train", (("bash", "-c", note, name),), needs)
        for name, needs in (("a", ()), ("b", ("a",)), ("c", ("a", "b")))
    ]
    for _ in range(2):
        Runner(tmp_path / "runs", 2).run(jobs)
    assert (tmp_path / "order").read_text().split() == ["a", "b", "c"]
    record = read_record(tmp_path / "runs", jobs[2])
    assert record is not None and record["attempts"] == 1 and record["seconds"] >= 0
    assert record["provenance"]["commit"] and record["provenance"]["machine"]["cores"] >= 1


def test_the_recorded_version_is_the_one_that_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"

    def version(_: Path) -> tuple[str, bool]:
        return ("after" if ran.exists() else "before"), False

    monkeypatch.setattr("narvl.provenance.source_version", version)
    job = shell("a", f"touch {ran}")
    Runner(tmp_path / "runs").run_one(job)
    record = read_record(tmp_path / "runs", job)
    assert ran.exists() and record is not None and record["provenance"]["commit"] == "before"


def test_a_failure_names_its_log_and_takes_only_its_dependents(tmp_path: Path) -> None:
    jobs = [shell("bad", "echo reason; exit 3"), shell("after", "true", "bad"), shell("other", "true")]
    with pytest.raises(UsageError, match="failed: bad; not run, because they need one of them: after"):
        Runner(tmp_path).run(jobs)
    assert [read_record(tmp_path, job) is not None for job in jobs] == [False, False, True]
    with pytest.raises(UsageError, match=r"exit code 3.*\n.*reason"):
        Runner(tmp_path).run_one(jobs[0])


def test_timing_is_alone(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    watch = f"ls {tmp_path}/busy.* 2>/dev/null | wc -l >> {seen}"
    work = "touch {0}; sleep 0.4; rm {0}"
    jobs = [shell(f"w{i}", work.format(tmp_path / f"busy.{i}")) for i in range(3)]
    jobs.insert(1, shell("timing", watch, kind="time"))
    Runner(tmp_path / "runs", 3).run(jobs)
    assert seen.read_text().split() == ["0"]


def test_threads_are_shared_but_by_timing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say = f'echo "${{OMP_NUM_THREADS:-all}}" > {tmp_path}/$0'
    jobs = [Job(kind, kind, (("bash", "-c", say, kind),)) for kind in ("train", "time")]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    Runner(tmp_path / "runs", 64).run(jobs)
    assert [(tmp_path / kind).read_text().strip() for kind in ("train", "time")] == ["1", "all"]


def test_other_commands_than_those_recorded_are_refused(tmp_path: Path) -> None:
    Runner(tmp_path).run([shell("a", "true")])
    with pytest.raises(UsageError, match="made by other commands"):
        Runner(tmp_path).run_one(shell("a", "exit 0"))


def test_runs_may_be_moved(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        job = shell("a", f"touch {tmp_path / folder / 'a' / 'made'}")
        Runner(tmp_path / folder).run([job])
        if folder == "one":
            (tmp_path / "one").rename(tmp_path / "two")
    assert not (tmp_path / "one").exists()


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and hand that on
from pathlib import Path
from typing import Any
from narvl.tables.job import Job
from narvl.tables.runner import Runner
out = Path(sys.argv[1])
step = f"echo begin $0 >> {out}/log; sleep 0.3; echo end $0 >> {out}/log"
jobs = [Job(n, "train", (("bash", "-c", step, n),), needs) for n, needs in (("a", ()), ("b", ()), ("c", ("a", "b")))]
Runner(out / "runs", 2).run(jobs)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [0.1, 0.45])
def test_killed_at_any_moment_nothing_that_ended_is_repeated(tmp_path: Path, by: int, after: float) -> None:
    call = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    log = tmp_path / "log"
    process = subprocess.Popen(call, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(by)
    process.wait(timeout=300)
    recorded = {path.parent.name for path in (tmp_path / "runs").glob("*/job.json")}
    before = log.read_text().splitlines()
    subprocess.run(call, check=True, stderr=subprocess.DEVNULL)
    lines = log.read_text().splitlines()
    for name in "abc":
        again = lines.count(f"begin {name}") - before.count(f"begin {name}")
        # What a killed caller has left running ends by itself; nobody recorded it, so it is called once more.
        assert again == 0 if name in recorded else 1 <= again <= 2
        assert lines.count(f"end {name}") >= 1
    assert lines[-1] == "end c"


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_one_job_alone_is_ended_with_its_command(tmp_path: Path, by: int) -> None:
    """What ``narvl tables --job`` calls, when a batch system ends it."""
    script = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from typing import Any
from narvl.tables.job import Job
from narvl.tables.runner import Runner
out = Path(sys.argv[1])
step = f"echo $$ > {out}/pid; sleep 60 & wait; touch {out}/end"
Runner(out / "runs").run_one(Job("a", "train", (("bash", "-c", step),)))
"""
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 300
    while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(by)
    assert process.wait(timeout=300) != 0
    while _alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(int(pid.read_text()))


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("by_signal", [False, True])
def test_a_stop_while_a_command_starts_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_signal: bool
) -> None:
    runner, begin = Runner(tmp_path), subprocess.Popen

    def stopped_meanwhile(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = begin(*args, **options)
        if args[0][0] == "sleep" and by_signal:
            os.kill(os.getpid(), signal.SIGTERM)
        elif args[0][0] == "sleep":
            runner.stop()
        return process

    monkeypatch.setattr(subprocess, "Popen", stopped_meanwhile)
    start = time.monotonic()
    with pytest.raises(UsageError, match="exit code -15"):
        runner.run_one(Job("a", "train", (("sleep", "20"),)))
    assert time.monotonic() - start < 15


def test_two_callers_share_the_work(tmp_path: Path) -> None:
    call = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    callers = [subprocess.Popen(call, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [caller.wait() for caller in callers] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{word} {name}" for name in "abc" for word in ("begin", "end"))


def test_a_full_disk_is_told_and_the_job_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    job = shell("a", "true")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(UsageError, match="failed: a"):
            Runner(tmp_path).run([job])
        with pytest.raises(UsageError, match=r"a/job\.json: cannot be written \(No space left on device\)"):
            Runner(tmp_path).run_one(job)
    assert read_record(tmp_path, job) is None
    Runner(tmp_path).run([job])
    assert read_record(tmp_path, job) is not None


@pytest.mark.parametrize("content", [b"", bytes(700), b'{"commands": '])
def test_a_record_that_lost_its_content_is_none(tmp_path: Path, content: bytes) -> None:
    job = shell("a", "true")
    Runner(tmp_path).run([job])
    (tmp_path / "a" / "job.json").write_bytes(content)
    assert read_record(tmp_path, job) is None
    Runner(tmp_path).run([job])
    record = read_record(tmp_path, job)
    assert record is not None and record["attempts"] == 2


def test_records_are_json_for_people(tmp_path: Path) -> None:
    Runner(tmp_path).run([shell("a", f"echo {tmp_path}")])
    record = json.loads((tmp_path / "a" / "job.json").read_text())
    assert record["commands"] == [["bash", "-c", "echo RUNS"]]


def test_each_job_that_ends_well_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    jobs = [shell("a", "true"), shell("bad", "exit 1"), shell("b", "true", "a")]
    with pytest.raises(UsageError, match="failed: bad"):
        Runner(tmp_path).run(jobs, lambda job: told.append(job.name))
    assert told == ["a", "b"]
    Runner(tmp_path).run([jobs[0]], lambda job: told.append(job.name))
    assert told == ["a", "b"], "what has ended before is not told again"


def test_a_record_of_something_else_fails_its_job_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Runner(tmp_path).run([shell("a", "true")])
    jobs = [shell("a", "exit 0"), shell("b", "true", "a"), shell("c", "true")]
    with pytest.raises(UsageError, match="failed: a; not run, because they need one of them: b"):
        Runner(tmp_path).run(jobs)
    assert "made by other commands" in capsys.readouterr().err
    assert read_record(tmp_path, jobs[2]) is not None


def test_a_recipe_that_has_changed_is_no_reason_to_reuse_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("a", "train", (("run_scripts/train.sh", "captioning/ofa_nano", "DATA", "OUT"),), seed=1)
    monkeypatch.setattr(Runner, "_call", lambda *_, **__: None)
    Runner(tmp_path).run_one(job)
    record = read_record(tmp_path, job)
    assert record is not None and "--criterion" in record["recipe"] and "--log-interval" not in record["recipe"]
    path = tmp_path / "a" / "job.json"
    changed = [word.replace("cross_entropy", "other_loss") for word in record["recipe"]]
    path.write_text(json.dumps({**record, "recipe": changed}))
    with pytest.raises(UsageError, match=r"a/job\.json: the recipe captioning/ofa_nano has changed.* --run"):
        read_record(tmp_path, job)
    path.write_text(json.dumps({name: value for name, value in record.items() if name != "recipe"}))
    assert read_record(tmp_path, job) is not None, "older records are taken at their word"


@pytest.mark.parametrize(
    ("script", "has", "has_not"),
    [("train", "effective_batch=512", "--beam"), ("distill", "--beam", "--lr"), ("evaluate", "--unnormalized", "--lr")],
)
def test_a_record_holds_what_its_script_reads(script: str, has: str, has_not: str) -> None:
    found = settings(Job("a", "train", ((f"run_scripts/{script}.sh", "vqa/ofa_base", "x"),)))
    assert found is not None and has in found and has_not not in found
    assert settings(Job("a", "time", (("narvl", "latency"),))) is None

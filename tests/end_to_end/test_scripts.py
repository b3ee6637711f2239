"""run_scripts/: what they print, refuse and start, on one machine and on several."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "run_scripts"
WITH_ARGUMENTS = ("train", "generate", "evaluate", "distill", "pipeline", "slurm")
#: A published recipe, cut down to what a CPU trains in seconds.
SMALL = "--cpu --patch-image-size 64 --code-dict-size 0 --num-bins 64 --num-workers 0".split()
SHORT = "--batch-size 32 --max-update 3 --log-format json --log-interval 1".split()

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(environment: dict[str, str]) -> Script:
    """Run a script; ``variables`` are added to its environment."""

    def call(name: str, *words: object, status: int = 0, **variables: object) -> subprocess.CompletedProcess[str]:
        argv = [str(SCRIPTS / f"{name}.sh"), *map(str, words)]
        extra = {key: str(value) for key, value in variables.items()}
        done = subprocess.run(argv, env={**environment, **extra}, capture_output=True, text=True, timeout=600)
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    return call


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_a_script_explains_itself(script: Script, name: str) -> None:
    text = script(name, "--help").stdout
    assert f"run_scripts/{name}.sh " in text
    assert "set -e" not in text and "#!" not in text
    assert script(name, status=2).stdout == text


def test_arguments_in_another_order_are_told(script: Script, scenes: Path, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.touch()
    said = script("train", "captioning/narvl_nano", scenes, file, status=2).stderr
    assert said == f"train.sh: SAVE_DIR {file}: a file. Give a folder; the order is RECIPE DATA SAVE_DIR.\n"
    for name in ("generate", "evaluate"):
        said = script(name, "captioning/narvl_nano", "x.pt", scenes, tmp_path / "out", "test", status=2).stderr
        assert said.startswith(f"generate.sh: SPLIT {tmp_path}/out: no such file ")
        assert not (tmp_path / "out").exists()


def dry(script: Script, *words: object, **variables: object) -> tuple[list[str], list[str]]:
    """The plan, if any, and the command that train.sh would run."""
    *plan, command = script("train", *words, DRY_RUN=1, **variables).stdout.splitlines()
    return plan, shlex.split(command)


def values(command: list[str], flag: str) -> str:
    """A flag's value that counts: the last."""
    return command[len(command) - command[::-1].index(flag)]


def test_eight_gpus_by_torchrun(script: Script, scenes: Path) -> None:
    plan, command = dry(script, "captioning/narvl_base", scenes, "OUT", "--batch-size", 12, "--max-epoch", 2, NPROC=8)
    assert plan == ["4 updates of 128 samples (8 GPUs x 8 x 2), 0 of them warm-up; 12 a GPU cannot make up 128, 8 can"]
    assert command[:6] == ["torchrun", "--standalone", "--nproc-per-node", "8", "--no-python", "bash"]
    expected = {
        **{"--batch-size": "8", "--update-freq": "2", "--total-num-update": "4", "--warmup-updates": "0"},
        **{"--max-epoch": "2", "--distributed-world-size": "8", "--distributed-init-method": "env://"},
        **{"--required-batch-size-multiple": "1", "--arch": "narvl_base"},
    }
    assert {flag: values(command, flag) for flag in expected} == expected
    assert "--fp16" in command and "gloo" not in command


def test_one_process_needs_no_launcher(script: Script, scenes: Path) -> None:
    plan, command = dry(script, "captioning/ofa_nano", scenes, "OUT")
    assert not plan
    assert command[:2] == ["fairseq-train", str(scenes)]
    assert values(command, "--distributed-world-size") == "1"


def test_several_machines_by_torchrun(script: Script, scenes: Path) -> None:
    machines = {"NNODES": 2, "NPROC": 4, "NODE_RANK": 1, "MASTER_ADDR": "first"}
    _, command = dry(script, "captioning/narvl_nano", scenes, "OUT", **machines)
    rendezvous = "--nnodes 2 --node-rank 1 --master-addr first --master-port 29500 --nproc-per-node 4".split()
    assert command[: 1 + len(rendezvous)] == ["torchrun", *rendezvous]
    assert values(command, "--distributed-world-size") == "8"
    missing = script("train", "captioning/narvl_nano", scenes, "OUT", status=2, DRY_RUN=1, NNODES=2)
    assert missing.stderr == "train.sh: NNODES=2 needs NODE_RANK and MASTER_ADDR (see --help).\n"


@pytest.mark.parametrize("variable", ["NPROC", "NNODES"])
def test_numbers_of_processes_are_checked(script: Script, scenes: Path, variable: str) -> None:
    done = script("train", "captioning/narvl_nano", scenes, "OUT", status=2, **{variable: "two"})
    assert done.stderr.startswith(f"train.sh: {variable}=two: give the number of ")


def test_slurm_starts_train_on_each_machine(script: Script, scenes: Path, tmp_path: Path) -> None:
    """Stand-ins for Slurm's commands: two machines named first and second."""
    hostnames = "#!/usr/bin/env bash\nprintf 'first\\nsecond\\n'\n"
    every_node = '#!/usr/bin/env bash\nshift\nfor SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done\n'
    for name, text in (("scontrol", hostnames), ("srun", every_node)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_NUM_NODES": 2, "SLURM_JOB_NODELIST": "x", "SLURM_JOB_ID": 31, "SLURM_SUBMIT_DIR": ROOT}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = script("slurm", "vqa/narvl_nano", scenes, "OUT", "--seed", 3, DRY_RUN=1, NPROC=8, PATH=path, **job)
    first, second = (shlex.split(line) for line in done.stdout.splitlines())
    for rank, command in enumerate((first, second)):
        assert command[0] == "torchrun"
        assert [values(command, f"--{flag}") for flag in ("node-rank", "master-addr", "master-port", "seed")] == [
            *(str(rank), "first", "20031", "3")
        ]
        assert values(command, "--distributed-world-size") == "16"


def records(text: str, kind: str) -> list[str]:
    """Samples of each update (train_inner), or updates of each validation."""
    lines = [json.loads(line.split(f" | {kind} | ")[1]) for line in text.splitlines() if f" | {kind} | " in line]
    return [line["bsz" if kind == "train_inner" else "valid_num_updates"] for line in lines]


@pytest.mark.slow
def test_two_processes_by_torchrun_keep_the_effective_batch(script: Script, scenes: Path, tmp_path: Path) -> None:
    call = ("captioning/narvl_base", scenes, tmp_path / "two", "--arch", "narvl_nano", *SMALL, *SHORT)
    together = script("train", *call, NPROC=2).stdout
    assert "3 updates of 128 samples (2 CPU processes x 32 x 2), 0 of them warm-up" in together
    assert records(together, "valid")[-1] == "3"
    # 200 rows: an epoch is 128 samples and a smaller update; fairseq leaves out of the log what its last round lacks.
    assert records(together, "train_inner")[-1] == "128"
    call = ("captioning/narvl_base", scenes, tmp_path / "one", "--arch", "narvl_nano", *SMALL, *SHORT)
    alone = script("train", *call).stdout
    assert "3 updates of 128 samples (1 CPU process x 32 x 4), 0 of them warm-up" in alone
    assert records(alone, "valid") == records(together, "valid")


@pytest.mark.slow
def test_two_machines_train_together(environment: dict[str, str], scenes: Path, tmp_path: Path) -> None:
    """Two torchruns of one process each, as on two machines, from a checkpoint that only the first one reads."""
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))  # each machine has an address of its own
        port = str(free.getsockname()[1])
    flags = ["captioning/ofa_base", str(scenes), str(tmp_path / "run"), "--arch", "ofa_nano", *SMALL, *SHORT]
    for start in ([], ["--max-update", "5"]):  # afresh, then from the checkpoint
        machines = []
        for rank in ("0", "1"):
            network = {"NNODES": "2", "NODE_RANK": rank, "MASTER_ADDR": "127.0.0.2", "MASTER_PORT": port}
            with (tmp_path / f"{rank}.log").open("w") as log:
                argv = [str(SCRIPTS / "train.sh"), *flags, *start]
                machines.append(
                    subprocess.Popen(argv, env={**environment, **network}, stdout=log, stderr=subprocess.STDOUT)
                )
        try:
            statuses = [machine.wait(timeout=300) for machine in machines]
        finally:
            for machine in machines:
                machine.kill()
        log = (tmp_path / "0.log").read_text()
        assert statuses == [0, 0], log[-4000:] + (tmp_path / "1.log").read_text()[-4000:]
    assert "5 updates of 128 samples (2 CPU processes x 32 x 2)" in log
    assert "Loaded checkpoint" in log
    assert records(log, "valid")[-1] == "5"


@pytest.fixture(scope="module")
def vqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes' questions, and a split that nobody has answered."""
    from narvl.scenes.write import Plan, write_scenes

    folder = tmp_path_factory.mktemp("vqa")
    write_scenes(Plan(task="vqa", scenes=(40, 6, 6), seed=3), folder)
    rows = [line.split("\t") for line in (folder / "test.tsv").read_text().splitlines()]
    unanswered = [[str(number), row[1], row[2], "", *row[4:]] for number, row in enumerate(rows)]
    (folder / "server.tsv").write_text("".join("\t".join(row) + "\n" for row in unanswered))
    return folder


@pytest.mark.slow
def test_the_pipeline_goes_on_where_it_was(script: Script, vqa: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    length = "--max-update 40 --total-num-update 40 --warmup-updates 5 --batch-size 16 --validate-interval 5".split()
    first = script("pipeline", "vqa", "nano", vqa, out, *length, NPROC=2).stdout  # two processes, two shards
    stages = [line for line in first.splitlines() if line.startswith("[")]
    assert stages == [
        *("[1/9] autoregressive teacher", "[2/9] the teacher's texts as targets", "[3/9] NARVL"),
        *("[4/9] teacher on server", "[5/9] NARVL on server", "[6/9] teacher on test", "[7/9] NARVL on test"),
        *("[8/9] teacher on valid", "[9/9] NARVL on valid"),
    ]
    assert "      update 40: loss " in first
    for run in ("teacher", "narvl"):
        assert (out / run / "scores-test.json").is_file()
        assert (out / run / "submission-server.json").is_file() and not (out / run / "scores-server.json").exists()
    assert sorted(path.name for path in (out / "distilled" / "shards").glob("*.txt")) == ["0-of-2.txt", "1-of-2.txt"]
    (out / "narvl" / "scores-valid.txt").unlink()
    second = script("pipeline", "vqa", "nano", vqa, out, *length, NPROC=2).stdout
    assert [line for line in second.splitlines() if line.startswith("[")] == [
        *(f"{stage}: done before" for stage in stages[:-1]),
        stages[-1],
    ]


@pytest.mark.slow
def test_averaged_weights_teach_and_answer(script: Script, vqa: Path, tmp_path: Path, environment: dict) -> None:
    """--store-ema from scratch and from a checkpoint without averages; narvl ema; decoding by the averages."""
    small = [*SMALL, "--batch-size", 20, "--update-freq", 1, "--max-update", 2, "--ema-decay", 0.5]
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    script("train", "vqa/ofa_tiny", vqa, teacher, "--arch", "ofa_nano", *small)
    averaged = teacher / "averaged.pt"
    subprocess.run(["narvl", "ema", teacher / "checkpoint_best.pt", averaged], env=environment, check=True)
    before = torch.load(teacher / "checkpoint_best.pt", weights_only=True)["model"]
    after = torch.load(averaged, weights_only=True)["model"]
    assert before.keys() == after.keys()
    assert not torch.equal(before["encoder.layers.0.fc1.weight"], after["encoder.layers.0.fc1.weight"])
    start = ["--finetune-from-model", averaged]
    script("train", "vqa/narvl_tiny", vqa, student, "--arch", "narvl_nano", *small, *start)
    script("evaluate", "vqa/ofa_tiny", averaged, vqa, "test", teacher, *SMALL)
    assert "accuracy" in (teacher / "scores-test.txt").read_text()

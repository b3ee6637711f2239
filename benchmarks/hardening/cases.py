"""Runs today's tests of each case of hardening in this version and in an earlier one: tries, failures before, and now.

The earlier version is checked out aside. A test fails there where the case goes wrong, and where the error does not yet
name what today's does. Tests that cannot even be loaded there (they are of parts that it has not) are told apart.

Usage: python benchmarks/hardening/cases.py [--before COMMIT] [--cases WORD...]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from tabulate import tabulate
from tqdm import tqdm

from narvl.errors import UsageError
from narvl.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]
#: The last version before the hardening.
BEFORE = "7b91816"
# An installed working copy lends the modules that a tree lacks; left out, so that each version is tried alone.
_PYTEST = """
import sys, pytest
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
sys.exit(pytest.main())
"""
_END = "tests/end_to_end/"
_DAMAGED = f"{_END}test_damaged_checkpoint.py::"
_CHECKPOINTS = "tests/test_checkpoints.py::"
_GUARDS = "tests/tasks/test_guards.py::"

#: To each case the tests that try it.
CASES: dict[str, tuple[str, ...]] = {
    "a truncated or changed checkpoint is named, another one offered": (
        f"{_DAMAGED}test_a_truncated_checkpoint_is_named_and_another_offered",
        f"{_CHECKPOINTS}test_weights_that_changed_on_the_disk_are_named",
    ),
    "a pickle crafted to run something, as a checkpoint": (f"{_DAMAGED}test_a_crafted_pickle_runs_nothing",),
    "settings in a checkpoint that fairseq evaluates": (f"{_DAMAGED}test_settings_that_fairseq_evaluates_run_nothing",),
    "a pickle crafted to run something, as annotations": (
        "tests/prepare/test_plain_pickle.py::test_calls_are_refused_and_run_nothing",
    ),
    "a checkpoint that could fill the memory, or is a pipe": (
        f"{_CHECKPOINTS}test_compressed_parts_are_refused_unread",
        f"{_CHECKPOINTS}test_parts_that_share_bytes_are_refused_unread",
        f"{_CHECKPOINTS}test_the_newest_other_checkpoint_that_can_be_read_is_offered",
    ),
    "a checkpoint that could take years to read": ("tests/test_pickle_work.py",),
    "a checkpoint of whose settings nothing can be built": (
        f"{_DAMAGED}test_a_checkpoint_that_no_task_can_be_built_of_is_named",
        "tests/models/test_settings.py",
        "tests/models/test_sizes.py::test_a_setting_that_is_a_tensor_is_not_written_out",
    ),
    "a start that does not exist": (f"{_DAMAGED}test_a_start_that_does_not_exist_is_named",),
    "a finished training started again": (f"{_DAMAGED}test_a_finished_training_is_not_trained_on",),
    "patience across restarts": (f"{_END}test_restart.py::test_patience_is_counted_across_restarts",),
    "a data-loading worker that dies": (f"{_DAMAGED}test_the_death_of_a_worker_ends_the_training",),
    "data-loading workers that stay after their epoch": (f"{_GUARDS}test_workers_end_with_their_epoch",),
    "a full disk while a checkpoint is saved": (f"{_DAMAGED}test_a_full_disk_ends_the_training_with_a_word",),
    "a killed training goes on to the same end": (
        f"{_END}test_restart.py::test_a_killed_run_goes_on_to_the_same_end",
        f"{_END}test_restart.py::test_a_run_killed_while_it_copies_a_checkpoint_leaves_the_old_one",
    ),
    "a killed conversion goes on where it was": ("tests/prepare/test_staging.py",),
    "the same weights from the same seed, whatever the workers": (f"{_END}test_determinism.py",),
    "bad rows of training data": (f"{_END}test_bad_input.py",),
    "hostile images": ("tests/data/test_image.py::TestBadImages", "tests/data/test_image.py::TestHostileImages"),
    "TIFFs that are rotated, of other depths, or whose white is 0": (
        "tests/data/test_image.py::TestDepth",
        "tests/data/test_image.py::TestModes::test_the_size_is_told_without_decoding",
    ),
    "endless numbers and other values that no data set has, in annotations": (
        "tests/prepare/test_refcoco.py::test_values_that_no_data_set_has",
        "tests/prepare/test_plain_pickle.py::test_keys_that_could_take_years_to_hash",
        "tests/prepare/test_fields.py",
    ),
    "rows, bins and boxes that would be taken for others without a word": (
        "tests/data/test_vocabulary.py::TestBadFolders::test_a_symbol_that_has_an_id_already",
        "tests/data/test_boxes.py::test_the_box_column",
        "tests/data/test_dataset.py::TestOnlyRows",
        "tests/distillation/test_rows.py::test_rows_in_another_order_are_refused_once_texts_are_there",
        "tests/test_grouping.py::test_images_that_cannot_be_told_apart_are_refused",
    ),
    "answers that nothing would be learnt from": ("tests/data/test_vqa.py::test_a_row_that_nothing_is_learnt_from",),
    "links and other programs' files in a data folder": (
        "tests/test_grouping.py::test_other_splits_come_along_through_links",
        "tests/prepare/test_photos.py::test_what_a_killed_run_has_left_is_deleted",
    ),
    "a damaged row index": ("tests/data/test_tsv.py::TestStoredIndex",),
    "names that lead out of a folder": (
        "tests/prepare/test_photos.py::test_names_that_lead_out_of_the_folder_are_refused",
    ),
    "targets and prompts of padding, of one token, weights of a thousand": (
        "tests/criterions/test_edges.py::TestModels",
        "tests/criterions/test_edges.py::test_one_query_through_the_model",
    ),
    "losses and gradients that are no numbers": (f"{_GUARDS}TestBrokenLosses",),
    "a model that says NaN": tuple(
        f"tests/decoding/{place}::test_outputs_that_are_no_numbers_name_their_rows"
        for place in (
            "test_beam.py",
            "test_ar_search.py",
            "test_all_candidates.py::TestRandomModel",
            "test_parallel.py",
        )
    ),
    "a batch that finds no memory": (f"{_GUARDS}TestMemory",),
    "half precision overflows": (f"{_GUARDS}TestHalfPrecision",),
    "batches that stand in for a share that has ended": (f"{_GUARDS}TestStandIns",),
    "processes train as one": (f"{_END}test_distributed.py",),
    "a process dies": (f"{_END}test_dead_ranks.py",),
    "fairseq's traps": (f"{_END}test_fairseq_edges.py",),
}


def run_tests(tree: Path, tests: Sequence[str], folder: Path) -> dict[str, int]:
    """Run tests in a tree, slow ones too, and count them: ``tries``, ``failures``, ``not_there``, ``skipped``.

    Of a file that cannot be loaded one is counted as not there. Files run apart: pytest would leave the others out.
    """
    counts = dict.fromkeys(("tries", "failures", "not_there", "skipped"), 0)
    for _, tests_of_file in itertools.groupby(tests, lambda test: test.partition("::")[0]):
        for name, count in _run_file(tree, list(tests_of_file), folder).items():
            counts[name] += count
    return counts


def _run_file(tree: Path, tests: Sequence[str], folder: Path) -> dict[str, int]:
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PYTEST, "-q", "-p", "no:cacheprovider", "-m", "", f"--junitxml={report}", *tests]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    counts = dict.fromkeys(("tries", "failures", "not_there", "skipped"), 0)
    for case in ElementTree.parse(report).iter("testcase") if report.is_file() else ():
        if any("collection failure" in (part.get("message") or "") for part in case):
            counts["not_there"] += 1
        elif any(part.tag == "skipped" for part in case):
            counts["skipped"] += 1
        else:
            counts["tries"] += 1
            counts["failures"] += any(part.tag in ("failure", "error") for part in case)
    # 1: some failed; 2: some could not be loaded; 4: nor found in what could not be. Anything else is no answer.
    if done.returncode not in (0, 1, 2, 4) or not sum(counts.values()):
        raise RuntimeError(
            f"pytest ended with {done.returncode} in {tree}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return counts


def check_out(commit: str, folder: Path) -> Path:
    """Write an earlier version aside, with today's tests."""
    tree = folder / "before"
    tree.mkdir()
    archived = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archived.returncode:
        raise UsageError(f"--before {commit}: {archived.stderr.decode().strip()}. Give a commit of this repository.")
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archived.stdout, check=True)
    shutil.rmtree(tree / "tests")
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (folder / "shared").symlink_to(shared)
    return tree


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help=f"the earlier version (default: {BEFORE})")
    parser.add_argument("--cases", nargs="+", metavar="WORD", help="only cases whose names have one of these")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "results" / "hardening_cases.json",
        help="results file; what it holds of other cases stays (default: results/hardening_cases.json)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 where a test fails in this version, or none could be run.

    Raises:
        UsageError: there is no such version or case.
    """
    args = build_parser().parse_args(argv)
    record = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {"cases": {}}
    chosen = [case for case in CASES if not args.cases or any(word in case for word in args.cases)]
    if not chosen:
        raise UsageError(
            f"--cases {' '.join(args.cases)}: no case's name has one of these. There are: {'; '.join(CASES)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        before = check_out(args.before, Path(folder))
        for case in tqdm(chosen, unit="case", disable=None):
            now, then = (run_tests(tree, CASES[case], Path(folder)) for tree in (ROOT, before))
            made = provenance(None)
            record["cases"][case] = {"tests": CASES[case], "before": then, "now": now, "commit": made["commit"]}
            record |= {"before": args.before, "provenance": made}
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    found = [(case, record["cases"][case]) for case in chosen]
    rows = [[case, part["now"]["tries"], part["before"]["failures"], part["now"]["failures"]] for case, part in found]
    sys.stdout.write(tabulate(rows, headers=["case", "tries", "failures before", "failures now"], tablefmt="github"))
    sys.stdout.write("\n")
    nows = [part["now"] for _, part in found]
    return int(any(now["failures"] or now["not_there"] or not now["tries"] for now in nows))


if __name__ == "__main__":
    sys.exit(main())

"""The teacher's texts become targets, each row once; every way in which results can be wrong is named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.data import vqa
from narvl.distillation.folder import shard_path, shard_rows
from narvl.distillation.shard import Shard
from narvl.distillation.targets import LEAST_CONFIDENCE, Choices, Counts, probability, write_targets
from narvl.errors import DataError, UsageError
from narvl.evaluation.generations import Generation


def shards(out: Path, blocks: dict[int, str], num_rows: int, num_shards: int = 2, finish: bool = True) -> None:
    """Write shards that hold the blocks of some rows."""
    size = (out / "teacher.tsv").stat().st_size
    for shard_id in range(num_shards):
        rows = shard_rows(num_rows, shard_id, num_shards)
        with Shard(shard_path(out, shard_id, num_shards), rows, {"bytes": size}) as shard:
            for row in blocks.keys() & set(rows):
                shard.text.write(blocks[row])
            if finish:
                shard.finish()


def column(out: Path, number: int) -> list[str]:
    return [line.split("\t")[number] for line in (out / "train.tsv").read_text().splitlines()]


def test_captions_are_cleaned_and_all_else_stays(captions: Callable, block: Callable, tmp_path: Path) -> None:
    out = captions(3)
    results = tmp_path / "generate-teacher.txt"
    results.write_text("a log line\n" + block(2, "one two three") + block(0, "A dog, a cat.") + block(1, " ... "))
    assert write_targets(out, [results], Choices(max_words=2)) == Counts(written=3, human=1)
    assert (out / "train.tsv").read_text().splitlines() == [
        "u0\tim0\tA dog\t\tIMAGE0",
        "u1\tim1\thuman 1\t\tIMAGE1",
        "u2\tim2\tone two\t\tIMAGE2",
    ]
    assert sorted(path.name for path in out.glob("*.partial")) == []


def test_answers_get_confidence_on_demand(questions: Callable, block: Callable) -> None:
    out = questions(3)
    shards(out, {0: block(0, "yes", (-1.0, -0.5)), 1: block(1, "", (-1.0,)), 2: block(2, "two  dogs", (0.0,))}, 3)
    write_targets(out)
    human = "0.3|!+no&&0.9|!+human"
    assert column(out, 3) == ["1.0|!+yes", human, "1.0|!+two dogs"]
    assert write_targets(out, choices=Choices(confidence=True)) == Counts(written=3, human=1)
    assert column(out, 3) == ["0.3536|!+yes", human, "1.0|!+two dogs"]  # 2^-1.5
    assert [len(row.split("\t")) for row in (out / "train.tsv").read_text().splitlines()] == [6] * 3


@given(st.floats(-2000, 1))
def test_confidence_is_a_weight_that_the_task_accepts(log2: float) -> None:
    confidence = probability(Generation("x", -1.0, log2))
    assert LEAST_CONFIDENCE <= confidence <= 1
    written = f"{confidence:.4f}|!+x"
    weight, _ = vqa.answers(["", "", "", written])[0]
    assert 0 < weight <= 1


@pytest.mark.parametrize("text", ["a&&b", "0.1|!+a"])
def test_an_answer_that_would_be_read_as_several_is_not_used(questions: Callable, block: Callable, text: str) -> None:
    out = questions(1)
    shards(out, {0: block(0, text)}, 1)
    assert write_targets(out) == Counts(written=1, human=1)
    assert column(out, 3) == ["0.3|!+no&&0.9|!+human"]


def test_a_teacher_that_says_nothing_is_refused(captions: Callable, block: Callable) -> None:
    out = captions(12)
    shards(out, {row: block(row, "") for row in range(12)}, 12)
    with pytest.raises(DataError, match="of the teacher's texts for 12 rows not one can be a target"):
        write_targets(out)
    assert sorted(path.name for path in out.glob("train*")) == []


def test_rows_that_nobody_has_a_target_for_are_dropped(questions: Callable, block: Callable) -> None:
    out = questions(2, answers="")
    shards(out, {0: block(0, ""), 1: block(1, "yes")}, 2)
    assert write_targets(out) == Counts(written=1, without=1)
    assert column(out, 0) == ["q1"]


def test_unsure_rows_are_dropped_on_demand(captions: Callable, block: Callable) -> None:
    out = captions(4)
    shards(out, {row: block(row, "a dog", (-row, -1.0)) for row in range(4)}, 4)  # 1/2, 1/4, 1/8, 1/16
    assert write_targets(out, choices=Choices(min_confidence=0.25)) == Counts(written=2, unsure=2)
    assert column(out, 0) == ["u0", "u1"]
    (out / "train.tsv").unlink()
    with pytest.raises(DataError, match="none of its 4 rows has a target.*--min-confidence"):
        write_targets(out, choices=Choices(min_confidence=1.0))
    assert sorted(path.name for path in out.glob("train*")) == []


def test_missing_doubled_and_surplus_rows_are_counted(captions: Callable, block: Callable, tmp_path: Path) -> None:
    out = captions(20)
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("".join(block(row) for row in (0, 1, 2, 25)))
    second.write_text("".join(block(row) for row in (2, 0)))
    with pytest.raises(DataError) as caught:
        write_targets(out, [first, second])
    message = str(caught.value)
    assert f"{first}, {second}: 17 of 20 rows are missing (first: 4, 5, 6, 7, 8, ...)" in message
    assert "2 rows came back more than once (first: 3, 1)" in message
    assert "1 rows do not exist (first: 26)" in message
    assert f"fairseq-generate {out} --gen-subset teacher" in message
    assert not (out / "train.tsv").exists()
    with pytest.raises(DataError, match="2 rows came back more than once") as caught:
        write_targets(out, [first, second], Choices(drop_missing=True))
    assert "rows are missing" not in str(caught.value)


def test_hypotheses_of_one_row_are_one_but_the_same_row_again_is_not(captions: Callable, block: Callable) -> None:
    out = captions(1)
    several = block(0, "best") + "".join(block(0, "second").splitlines(keepends=True)[2:])
    (out / "one.txt").write_text(several)
    write_targets(out, [out / "one.txt"])
    assert column(out, 2) == ["best"]
    (out / "one.txt").write_text(block(0) + block(0))
    with pytest.raises(DataError, match="1 rows came back more than once"):
        write_targets(out, [out / "one.txt"])


def test_an_unfinished_shard_is_named_with_its_command(captions: Callable, block: Callable) -> None:
    out = captions(10)
    shards(out, {row: block(row) for row in (0, 1, 2, 3, 9)}, 10, num_shards=5, finish=False)
    command = f"narvl distill decode --out {out} --shard-id 2 --num-shards 5 -- FLAGS (and shards 3, 4)"
    for drop in (False, True):  # what was not decoded yet is not a bad row
        with pytest.raises(DataError) as caught:
            write_targets(out, choices=Choices(drop_missing=drop))
        assert "5 of 10 rows are missing (first: 5, 6, 7, 8, 9)" in str(caught.value)
        assert command in str(caught.value)


@pytest.mark.parametrize("cut", [1, 5, 12, 20])
def test_a_row_cut_off_by_a_killed_process_is_missing(captions: Callable, block: Callable, cut: int) -> None:
    out = captions(2)
    shards(out, {0: block(0), 1: block(1)}, 2, num_shards=1, finish=False)
    path = shard_path(out, 0, 1)
    path.write_text(path.read_text()[:-cut])
    with pytest.raises(DataError, match=r"1 of 2 rows are missing \(first: 2\).*--shard-id 0 --num-shards 1"):
        write_targets(out)


def test_bad_rows_of_a_finished_shard_can_be_dropped(captions: Callable, block: Callable) -> None:
    out = captions(4)
    shards(out, {row: block(row) for row in (0, 3)}, 4)
    with pytest.raises(DataError, match="2 of 4 rows are missing.*give --drop-missing"):
        write_targets(out)
    assert write_targets(out, choices=Choices(drop_missing=True)) == Counts(written=2, missing=2)
    assert column(out, 0) == ["u0", "u3"]


def test_a_shard_that_was_never_begun(captions: Callable, block: Callable) -> None:
    out = captions(4)
    with pytest.raises(DataError, match="no results. Run narvl distill decode"):
        write_targets(out)
    shards(out, {row: block(row) for row in range(4)}, 4)
    shard_path(out, 0, 2).unlink()
    with pytest.raises(DataError, match="rows are missing.*--shard-id 0 --num-shards 2"):
        write_targets(out)


def test_shards_of_different_divisions_teachers_or_rows(captions: Callable, block: Callable) -> None:
    out = captions(4)
    blocks = {row: block(row) for row in range(4)}
    shards(out, blocks, 4)
    shards(out, blocks, 4, num_shards=1)
    with pytest.raises(DataError, match=r"4 rows came back more than once.*several divisions \(1, 2\)"):
        write_targets(out)
    shard_path(out, 0, 1).unlink()
    other = shard_path(out, 1, 2)
    whole = other.read_text()
    other.write_text(whole.replace('{"bytes"', '{"beam": 1, "bytes"'))
    with pytest.raises(DataError, match="1-of-2.txt: decoded with other settings than .*0-of-2.txt: beam None, now 1"):
        write_targets(out)
    other.write_text(whole)
    with (out / "teacher.tsv").open("a") as file:
        file.write("u4\tim4\tx\t\tI\n")
    with pytest.raises(DataError, match=r"0-of-2.txt: decoded from another .*teacher.tsv"):
        write_targets(out)


def test_damaged_results_are_named(captions: Callable, block: Callable, tmp_path: Path) -> None:
    out, results = captions(2), tmp_path / "r.txt"
    for text, what in (
        (block(0) + "D-1\t-0.5\ta d", "line 6: cut off: b'D-1"),
        (block(0) + "D-1\tx\ta dog\n", "line 6: malformed"),
        (block(0) + "D-1\t-0.5\ta dog\nP-1\t-0.5 x\n", "line 7: malformed: 'P-1"),
        (block(0) + "D-1\t-0.5\ta dog\nP-0\t-0.5\n", "line 7: malformed: 'P-0"),
        (block(0) + "D-1\t-0.5\ta dog\nP-1\tnan\n", "line 7: malformed"),
        (block(0) + "D-1\t-0.5\ta dog\nP-1\t\n", "line 7: malformed"),
    ):
        results.write_text(text)
        with pytest.raises(DataError, match=what):
            write_targets(out, [results])
    with pytest.raises(DataError, match="none.txt: no such file"):
        write_targets(out, [tmp_path / "none.txt"])
    assert not (out / "train.tsv").exists()


def test_probabilities_are_needed_only_where_they_are_used(questions: Callable, tmp_path: Path) -> None:
    out, results = questions(1), tmp_path / "r.txt"
    results.write_text("D-0\t-0.5\tyes\n")
    write_targets(out, [results])
    for choices in (Choices(confidence=True), Choices(min_confidence=0.1)):
        with pytest.raises(DataError, match=r"teacher.tsv, row 1: the results tell no probability of the text"):
            write_targets(out, [results], choices)


def test_choices_that_do_not_fit(captions: Callable) -> None:
    out = captions(1)
    for choices, flag in (
        (Choices(confidence=True), "--confidence: captioning"),
        (Choices(min_confidence=1.5), "--min-confidence 1.5"),
        (Choices(min_confidence=float("nan")), "--min-confidence nan"),
        (Choices(max_words=0), "--max-tgt-words 0"),
    ):
        with pytest.raises(UsageError, match=flag):
            write_targets(out, choices=choices)


def test_a_bad_row_leaves_the_old_file(captions: Callable, block: Callable, tmp_path: Path) -> None:
    out = captions(2)
    (out / "train.tsv").write_text("old\n")
    with (out / "teacher.tsv").open("a") as file:
        file.write("three\tcolumns\tonly\n")
    (tmp_path / "r.txt").write_text(block(0) + block(1) + block(2))
    with pytest.raises(DataError, match=r"teacher.tsv, row 3: 3 columns, expected 5"):
        write_targets(out, [tmp_path / "r.txt"])
    assert (out / "train.tsv").read_text() == "old\n"


def test_memory_grows_by_bytes_a_row_and_not_with_the_texts(
    captions: Callable, block: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, words = 20_000, 100
    out = captions(count)
    for start in range(0, count, count // 4):
        text = "".join(block(row, "word " * words) for row in range(start, start + count // 4))
        (out / f"{start}.txt").write_text(text)
    results = sorted(out.glob("*.txt"))
    monkeypatch.setattr("narvl.data.tsv._SCAN_BYTES", 1 << 16)  # the block in which a file's rows are counted
    tracemalloc.start()
    try:
        assert write_targets(out, results, Choices(max_words=words)).written == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in results) > 10e6
    assert peak < 1e6 + 40 * count

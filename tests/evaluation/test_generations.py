"""fairseq-generate's results file: the best text of each row, and a clear error for every damage."""

from __future__ import annotations

import pytest

from narvl.errors import DataError
from narvl.evaluation.generations import Generation, iterate_generations, read_generations

LOG = "2024-05-01 10:00:00 | INFO | fairseq_cli.generate | loading model(s)\n"


def block(index: int, *hypotheses: str) -> str:
    """Write one row's lines as fairseq-generate does, best hypothesis first."""
    lines = [f"S-{index}\twhat does the image describe?", f"T-{index}\ta dog"]
    for rank, text in enumerate(hypotheses):
        lines += [f"H-{index}\t-0.{rank + 1}\t12", f"D-{index}\t-0.{rank + 1}\t{text}", f"P-{index}\t-0.25 -0.50"]
    return "\n".join(lines) + "\n"


def write(folder, text):
    path = folder / "generate-test.txt"
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def test_best_of_several_hypotheses_in_row_order(tmp_path):
    text = (
        LOG + block(2, "a cat", "the cat") + LOG + block(0, "a dog", "a dog") + "Generate test with beam=5: BLEU4 = 1\n"
    )
    found = read_generations(write(tmp_path, text))
    assert found == {0: Generation("a dog", -0.1, -0.75), 2: Generation("a cat", -0.1, -0.75)}
    assert list(read_generations(tmp_path / "generate-test.txt")) == [0, 2]


def test_scores_without_that_of_the_end_are_no_probability(tmp_path):
    """A parallel model's are of each token's first query; only an autoregressive one's multiply to the text's."""
    text = block(0, "a dog") + block(1, "a cat").replace("-0.25 -0.50", "-0.25") + block(2, "a cow")
    path = write(tmp_path, text)
    found = read_generations(path)
    assert [found[row].log2_probability for row in range(3)] == [-0.75, None, -0.75]
    with path.open("rb") as handle:
        for entry in list(iterate_generations(handle, path)):
            handle.seek(entry.begin)
            assert next(iterate_generations(handle, path)).generation == entry.generation


def test_order_of_batches_does_not_matter(tmp_path):
    one = read_generations(write(tmp_path, block(0, "a") + block(1, "b")))
    assert read_generations(write(tmp_path, block(1, "b") + block(0, "a"))) == one


def test_without_token_scores_the_probability_is_unknown(tmp_path):
    path = write(tmp_path, "D-0\t-0.5\ta dog\nD-1\t-0.5\ta cat\nP-1\t-0.5 0.0\n")
    assert read_generations(path) == {0: Generation("a dog", -0.5), 1: Generation("a cat", -0.5, -0.5)}


def test_log_lines_between_a_row_s_lines_do_no_harm(tmp_path):
    text = block(0, "a dog").replace("D-0", LOG + "D-0").replace("P-0", LOG + "P-0")
    assert read_generations(write(tmp_path, text)) == {0: Generation("a dog", -0.1, -0.75)}


def test_entries_tell_where_their_lines_lie(tmp_path):
    path = write(tmp_path, LOG + block(3, "café", "tea") + block(1, "b"))
    raw = path.read_bytes()
    with path.open("rb") as handle:
        entries = list(iterate_generations(handle, path))
    assert [(entry.row, entry.line, entry.generation.text) for entry in entries] == [(3, 5, "café"), (1, 13, "b")]
    assert [raw[entry.begin : entry.end].count(b"\n") for entry in entries] == [3, 3]
    assert all(raw[entry.begin : entry.end].startswith(b"H-%d\t" % entry.row) for entry in entries)
    with path.open("rb") as handle:
        handle.seek(entries[1].begin)
        again = next(iterate_generations(handle, path))
    assert (again.row, again.generation, again.begin, again.end) == (
        1,
        entries[1].generation,
        entries[1].begin,
        entries[1].end,
    )


@pytest.mark.parametrize("line", ["D-1\t-0.1\ta d", "D-0\t-0.1\ta dog\nP-0\t-0.1"])
def test_a_cut_off_line_is_named(tmp_path, line):
    with pytest.raises(DataError, match="cut off"):
        read_generations(write(tmp_path, line))


def test_an_empty_text_has_no_token_scores(tmp_path):
    """A parallel model may say nothing."""
    results = tmp_path / "generate-test.txt"
    results.write_text("D-0\t0.0\t\nP-0\t\n")
    assert read_generations(results)[0].log2_probability == 0
    results.write_text("H-0\t0.0\t\nD-0\t0.0\t\nP-0\t\n")
    assert read_generations(results)[0].log2_probability is None


@pytest.mark.parametrize("line", ["P-1\t-0.1", "P-0\tinf", "P-0\tx", "P-0 -0.1"])
def test_malformed_token_scores_are_named(tmp_path, line):
    with pytest.raises(DataError, match="line 2: malformed.*Expected P-0"):
        read_generations(write(tmp_path, f"D-0\t-0.1\ta dog\n{line}\n"))


def test_the_same_row_twice_in_a_row_is_two_runs_not_two_hypotheses(tmp_path):
    with pytest.raises(DataError, match="row id 0 appears a second time"):
        read_generations(write(tmp_path, block(0, "a") + block(0, "b")))


def test_an_empty_text_is_a_generation(tmp_path):
    assert read_generations(write(tmp_path, block(0, "")))[0].text == ""


def test_only_a_newline_ends_a_line_and_text_keeps_its_tabs(tmp_path):
    assert read_generations(write(tmp_path, block(0, "a\u2028b\x85c\td")))[0].text == "a\u2028b\x85c\td"


def test_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(DataError, match=r"generate-valid.txt: no such file.*fairseq-generate .*--gen-subset valid"):
        read_generations(tmp_path / "generate-valid.txt")


def test_no_generated_text(tmp_path):
    with pytest.raises(DataError, match="no D- line"):
        read_generations(write(tmp_path, LOG + "S-0\tx\nH-0\t-0.1\t5\n"))


@pytest.mark.parametrize("line", ["D-1\t-0.1", "D-x\t-0.1\ta dog", "D-1\tscore\ta dog", "D-1 -0.1 a dog"])
def test_malformed_line_is_named_by_number(tmp_path, line):
    with pytest.raises(DataError, match="line 6: malformed"):
        read_generations(write(tmp_path, block(0, "a dog") + line + "\n"))


def test_joined_runs_are_refused(tmp_path):
    with pytest.raises(DataError, match="line 14: row id 0 appears a second time"):
        read_generations(write(tmp_path, block(0, "a") + block(1, "b") + block(0, "c")))


def test_not_utf8(tmp_path):
    path = tmp_path / "generate-test.txt"
    path.write_bytes(b"D-0\t-0.1\tcaf\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_generations(path)


@pytest.mark.parametrize("line", [f"P-{'9' * 5000}\t-0.1", "P-0\t1e308 1e308", "P-0\t-inf inf"])
def test_token_scores_that_no_number_holds_are_named(tmp_path, line):
    with pytest.raises(DataError, match="line 2: malformed"):
        read_generations(write(tmp_path, f"D-0\t-0.1\ta dog\n{line}\n"))

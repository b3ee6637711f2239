"""From values to CSV, page and plots."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from narvl.errors import DataError
from narvl.tables import plots, render
from narvl.tables.catalogue import TABLES
from narvl.tables.collect import collect
from narvl.tables.figures import QUARTILES, Figure, Figures, difference, format_value, mean_text, read_figures
from narvl.tables.job import Job
from narvl.tables.publish import merge
from narvl.tables.runner import Runner
from narvl.tables.runs import Decoded, Timed
from narvl.tables.scales import Dataset
from narvl.tables.table import RULE, Entry, compare, differences, margin, pace, scores, speed, verdict


def figure(row: str, metric: str, ours: str, seed: str = "1", paper: str = "") -> Figure:
    return Figure(row, metric, paper, ours, "", seed, "c0ffee", "2 cores", "1.0", "2026-01-01", "cmd")


SOME = Figures([figure("A", "CIDEr", str(v), str(s), "93.24") for s, v in enumerate((90, 92, 94), 1)])


def test_means_and_spreads_are_over_seeds() -> None:
    assert SOME.mean("A", "CIDEr") == 92 and SOME.spread("A", "CIDEr") == 2
    assert Figures(SOME.all[:1]).spread("A", "CIDEr") is None and SOME.mean("B", "CIDEr") is None


def test_csv_is_read_as_it_was_written(tmp_path: Path) -> None:
    odd = Figures([*SOME.all, figure("image, 1", "text", 'a "b" | c\nd')])
    (tmp_path / "t.csv").write_text(odd.text())
    assert read_figures(tmp_path / "t.csv").all == odd.all
    assert read_figures(tmp_path / "none.csv").all == []
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="its columns are"):
        read_figures(tmp_path / "bad.csv")


def test_numbers_are_written_short_and_differences_signed() -> None:
    assert (format_value(123.149), format_value(0.123456), format_value("a text")) == ("123.15", "0.1235", "a text")
    assert (mean_text([0.65, 0.61]), mean_text([0.0, 0.0]), mean_text([7.25])) == ("0.630 ± 0.028", "0.0 ± 0.0", "7.2")
    assert difference(90.0, 93.24) == "-3.24" and difference(90.0, None) == difference("x", 1.0) == ""


def test_a_table_keeps_paper_ours_and_difference_apart() -> None:
    lines = render.render(SOME).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")][2:5] == ["paper", "ours", "difference"]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "A", "CIDEr", "93.24", "92.0 ± 2.0", "-1.2", "1, 2, 3",
    ]  # fmt: skip
    texts = render.render(Figures([figure("image 1", "says", "a | b")]))
    assert "a \\| b" in texts and "paper" not in texts


def test_old_figures_stay_where_new_runs_have_none() -> None:
    new = Figures([replace(SOME.all[1], ours="99"), figure("B", "CIDEr", "5")])
    both = merge(Figures([*SOME.all, figure("gone", "CIDEr", "1")]), new, ["B", "A"])
    assert [(found.row, found.seed, found.ours) for found in both.all] == [
        ("B", "1", "5"), ("A", "1", "90"), ("A", "2", "99"), ("A", "3", "94"),
    ]  # fmt: skip


def test_only_entries_whose_jobs_have_ended_are_read(tmp_path: Path) -> None:
    done, open_ = (Job(name, "train", (("true",),), seed=7) for name in ("done", "open"))
    Runner(tmp_path).run([done])
    entries = [
        Entry("A", (done,), lambda: {"CIDEr": 50.0}, {"CIDEr": 60.0}),
        Entry("B", (done, open_), lambda: pytest.fail("read too early")),
    ]
    (only,) = collect(entries, tmp_path).all
    assert (only.row, only.paper, only.ours, only.difference, only.seed) == ("A", "60.00", "50.00", "-10.00", "7")
    assert only.command == "true" and float(only.minutes) >= 0


def test_a_collapsed_model_scores_0_and_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    record = {"metrics": {"CIDEr": 0.0, "BLEU-4": 0.5, "METEOR": None}, "faithfulness": None}
    (tmp_path / "scores-test.json").write_text(json.dumps(record))
    dataset = Dataset("captioning", "captioning", "coco", {"test": ""})
    decoded = Decoded(Job("decoded", "decode", (("true",),)), dataset, "test", tmp_path, tmp_path)
    assert scores(decoded) == {"BLEU-4": 50.0, "CIDEr": 0.0}


def test_figures_name_all_that_produced_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(name, "train", (("echo", f"{tmp_path}/{name}", "a b"),)) for name in ("train", "decode")]
    for job, commit in zip(jobs, ("a" * 40, "b" * 40), strict=True):
        monkeypatch.setattr("narvl.provenance.source_version", lambda _, commit=commit: (commit, commit[0] == "b"))
        Runner(tmp_path).run([job])
    found = collect([Entry("A", tuple(jobs), lambda: {"CIDEr": 50.0})], tmp_path)
    (only,) = found.all
    assert only.command == "echo RUNS/train 'a b'; echo RUNS/decode 'a b'"
    assert only.commit == f"{'a' * 40}; {'b' * 40}+" and only.machine.count("accelerator") == 1
    assert "Commit aaaaaaaaaa, bbbbbbbbbb+; " in render.source(found)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([3.0, 4.0, 5.0], "held (+4.0 CIDEr, 3 seeds, whose differences spread by 1.0)"),
        ([-3.0, -4.0], "did not hold (-3.5 CIDEr, 2 seeds"),
        ([1.0, -0.5, 0.5], "within the seeds' spread, so undecided (+0.3"),
        ([2.0], "so in the one seed that was run (+2.0 CIDEr)"),
        ([0.0], "no difference"),
        ([], "not run"),
    ],
)
def test_verdicts_weigh_differences_by_their_spread(found: list[float], said: str) -> None:
    by_seed = {str(seed): value for seed, value in enumerate(found, 1)}
    assert said in verdict("A claim", by_seed, "CIDEr")


def test_differences_are_of_the_same_seed_and_say_so() -> None:
    other = Figures([*SOME.all, figure("B", "CIDEr", "80", "2"), figure("B", "CIDEr", "80", "9")])
    assert differences(other, "CIDEr", "A", "B") == {"2": 12.0}
    said = compare("A is above B", other, "CIDEr", "A", "B")
    assert said == "A is above B: so in the one seed that both have (+12.0 CIDEr of seed 2)."
    more = Figures([*other.all, figure("B", "CIDEr", "82", "3")])
    assert "held (+12.0 CIDEr, seeds 2, 3, whose differences" in compare("A is above B", more, "CIDEr", "A", "B")


def test_a_margin_stands_beside_the_papers() -> None:
    below = Figures([*SOME.all, *(figure("B", "CIDEr", str(80 + seed), str(seed), "100") for seed in (1, 2, 3))])
    ours = "ours +10.0 (3 seeds, whose differences spread by 1.0)."
    assert margin("A less B", below, "CIDEr", "A", "B") == f"A less B: the paper -6.8 CIDEr, {ours}"
    alone = Figures([figure("A", "CIDEr", "1"), figure("B", "CIDEr", "2")])
    assert margin("A less B", alone, "CIDEr", "A", "B") == "A less B: ours -1.0 CIDEr (one seed)."
    assert margin("A less B", SOME, "CIDEr", "A", "B") == "A less B: ours not run."


def test_table_1_claims_what_the_paper_has() -> None:
    def both(name: str, metric: str, ar: str, nar: str) -> list[Figure]:
        return [figure(f"{name} {row}", metric, "50", paper=paper) for row, paper in (("AR", ar), ("NAR", nar))]

    figures = [*both("captioning", "CIDEr", "138.20", "123.10"), *both("grounding", "Acc@0.5 val", "88.15", "88.78")]
    captions, boxes = TABLES["table1"].claims(Figures(figures))
    assert captions == "captioning: NAR less AR: the paper -15.1 CIDEr, ours +0.0 (one seed)."
    assert boxes.startswith("grounding: NAR is at or above AR (the paper +0.6): no difference in the one seed")


def test_speed_is_that_of_the_same_rounds(tmp_path: Path) -> None:
    job, published = Job("latency", "time", (("true",),)), {"AR": {"ms": 70.0}, "NAR": {"ms": 10.0}}
    timed = Timed(job, tmp_path / "latency.json")
    rows: list[dict[str, Any]] = [
        {"name": "AR", "decoding": "beam", "median_ms": 20.0, "rounds_ms": [10.0, 20.0, 60.0]},
        {"name": "NAR", "decoding": "parallel", "median_ms": 5.0, "rounds_ms": [5.0, 4.0, 6.0]},
    ]
    ends = {"speedup_q1": 3.5, "speedup_q3": 7.5}
    rows_without = [
        {**rows[0], "speedup": 1.0, "speedup_q1": 1.0, "speedup_q3": 1.0},
        {**rows[1], "speedup": 5.0, **ends},
    ]
    for row in rows_without:
        del row["rounds_ms"]
    for found in (rows, rows_without):
        timed.path.write_text(json.dumps({"rows": found}))
        keys = {("AR", "beam"): ("AR", published["AR"]), ("NAR", "parallel"): ("NAR", published["NAR"])}
        ar, nar = speed(timed, keys, {"NAR": "AR"})
        assert ar.read() == {"ms": 20.0} and nar.paper["times as fast"] == 7.0
        values = nar.read()
        assert list(values.values()) == [5.0, 5.0, 3.5, 7.5], "not 4.0, the ratio of the medians"
        both = [figure("AR", "ms", "20", "", "70"), figure("NAR", "ms", "5", "", "10")]
        times = [figure("NAR", metric, str(value), "") for metric, value in values.items() if metric != "ms"]
        figures = Figures([*both, *times])
        assert pace(figures, "NAR", "AR", "NAR is", "as fast") == [
            "NAR is 5.0x as fast (quartiles 3.5 to 7.5; the paper: 7.0x)."
        ]
        assert pace(figures, "NAR", "AR", "NAR takes", "the time", longer=True) == [
            "NAR takes 0.20x the time (quartiles 0.13 to 0.29; the paper: 0.14x)."
        ]
        assert "5.00 (3.50 to 7.50)" in render.render(figures) and "quartile" not in render.render(figures)
    rows_without[0]["speedup_q3"] = 1.2  # the file compares with another row, and has kept no rounds
    timed.path.write_text(json.dumps({"rows": rows_without}))
    assert nar.read() == {"ms": 5.0}
    assert (
        "4.0x as fast (the ratio of the medians; the paper: 7.0x)" in pace(Figures(both), "NAR", "AR", "", "as fast")[0]
    )
    assert pace(SOME, "NAR", "AR", "NAR is", "as fast") == []


def test_the_summary_keeps_our_own_claims_apart(tmp_path: Path) -> None:
    assert render.summary("scenes", tmp_path) == "Not run yet."
    for name, rows in {"table8": ("Q-CTC", "cross-entropy"), "blank": ("blank trained", "blank frozen")}.items():
        (tmp_path / f"{name}.csv").write_text(Figures(figure(row, "CIDEr", "9") for row in rows).text())
    papers, ours = render.summary("scenes", tmp_path).split("\n\n<details><summary>Beyond the paper</summary>\n\n")
    assert papers.startswith(RULE)
    assert "- **Table 8: the loss, captions without distillation**\n  - Q-CTC is above cross-entropy" in papers
    assert ours.startswith("- **The blank trained or frozen, captions**\n  - A trained blank is above")
    assert ours.endswith("\n\n</details>")


def test_signs_are_explained_where_they_stand() -> None:
    one = [figure("A", "CIDEr", "92"), figure("A", "text", "a red ring")]
    assert render.source(Figures(one)).startswith("Commit ")
    more = [*one, replace(one[0], seed="2"), figure("A", f"ms{QUARTILES[0]}", "3")]
    assert render.source(Figures(more)).startswith(
        "± is the standard deviation over seeds. In brackets are quartiles. "
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_page_can_be_written_before_anything_ran(name: str, tmp_path: Path) -> None:
    page = render.page("scenes", tmp_path, "../results/scenes")
    assert TABLES[name].TITLE in page and f"Not run. Command: `narvl tables {name} --scale scenes`" in page


@pytest.mark.parametrize("count", [1, 2, 4])
def test_names_of_rows_cover_no_neighbouring_panel(count: int) -> None:
    pytest.importorskip("matplotlib")
    metrics = [f"metric {number}" for number in range(count)]
    rows = [(f"a row with a long name, {row} of {metric}", metric) for metric in metrics for row in range(3)]
    drawing: Any = plots.bars(Figures(figure(row, metric, "50") for row, metric in rows), metrics)
    drawing.draw_without_rendering()
    assert len(drawing.axes) == count
    for axis in drawing.axes:
        names = [label.get_window_extent() for label in axis.get_yticklabels()]
        assert len(names) == 3
        others = [other.get_window_extent() for other in drawing.axes if other is not axis]
        assert not any(name.overlaps(other) for name in names for other in others)


def test_axes_over_orders_of_magnitude_are_logarithmic() -> None:
    pytest.importorskip("matplotlib")
    near, far = ({"": {"A": 10.0, "B": most}} for most in (40.0, 1000.0))
    scales = [plots.curves(SOME, lines, ["CIDEr"] * 4, "x") for lines in (near, far)]
    assert [{axis.get_xscale() for axis in drawing.axes} for drawing in scales] == [{"linear"}, {"log"}]  # type: ignore[attr-defined]


def test_plots_show_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bars: Any = plots.bars(SOME, ["CIDEr"])
    (axis,) = bars.axes
    (bar,) = axis.patches
    assert (bar.get_width(), [label.get_text() for label in axis.get_yticklabels()]) == (92.0, ["A"])
    assert axis.collections[-1].get_offsets().data[0, 0] == 93.24, "the paper's mark"
    curves: Any = plots.curves(SOME, {"line": {"A": 1.0, "missing": 2.0}}, ["CIDEr"], "x")
    assert _points(curves) == [[(1.0, 92.0)]]
    both = Figures([*SOME.all, figure("A", "ms", "3"), figure("B", "ms", "4")])
    assert _points(plots.against(both, "ms", "CIDEr", {"line": ""})) == [[(3.0, 92.0)]]
    plots.save(bars, tmp_path / "bars.svg")
    before = (tmp_path / "bars.svg").read_bytes()
    plots.save(plots.bars(SOME, ["CIDEr"]), tmp_path / "bars.svg")
    assert (tmp_path / "bars.svg").read_bytes() == before, "the same figures give the same file"


def _points(drawing: Any) -> list[list[tuple[float, float]]]:
    """Return the points of each line with its error bars."""
    lines = [lines[0] for axis in drawing.axes for lines in axis.containers]
    return [list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True)) for line in lines]

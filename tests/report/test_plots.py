"""Figures: all are there, labelled with units, the same bytes each time; nothing is hidden without saying so."""

import argparse
import itertools
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from helpers.fake_study import forget_lengths, metrics_of, write, write_study
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rc_context
from PIL import Image

from ltp.analysis.lengths import LengthRow
from ltp.analysis.runs import SPLITS
from ltp.analysis.study import Run, Study
from ltp.analysis.summary import SummaryRow
from ltp.analysis.tables import write_tables
from ltp.cli import plots as plots_command
from ltp.common.errors import LTPError
from ltp.report import figures
from ltp.report.by_length import length_figure
from ltp.report.figures import accuracy_figure
from ltp.report.plots import KINDS, write_plots


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tables and figures of a made-up study of two seeds."""
    root = tmp_path_factory.mktemp("study")
    write_tables(write_study(root, seeds=(0, 1)), root)
    return root, write_plots(root, root / "plots")


def texts(path):
    """What an SVG says: its text elements."""
    found = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return [" ".join("".join(element.itertext()).split()) for element in found]


def test_every_figure_is_there_in_print_quality(study):
    root, written = study
    names = {f"rotten_tomatoes-{kind}.{suffix}" for kind in KINDS for suffix in ("png", "svg")}
    assert {path.name for path in written} == names == {path.name for path in (root / "plots").iterdir()}
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width >= 3.5 * 200 and image.info["dpi"][0] >= 200


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("accuracy-vs-flops", ["Test accuracy (%)", "FLOPs relative to the dense model (%)", "LTP", "top-k"]),
        ("accuracy-vs-flops", ["dense", "manual thresholds", "within 1 point of dense", "bars: ± 1 sd, 2 seeds"]),
        ("tokens-per-layer", ["Layer (filled: into attention, open: into feed-forward)", "Tokens (% of the sentence)"]),
        ("tokens-per-layer", ["LTP: 75 % of FLOPs", "top-k: 76 % of FLOPs", "manual: 80 % of FLOPs"]),
        ("thresholds-per-layer", ["Layer", "T=0.001 λ=0.2", "T=0.0005 λ=0.05", "start", "Rotten Tomatoes"]),
        ("flops-by-length", ["right answers", "wrong answers", "Text length (word pieces)", "Rotten Tomatoes"]),
        ("flops-by-length", ["FLOPs of a text (% of the dense model's)", "LTP: 75 %", "top-k: 76 %"]),
    ],
)
def test_figures_say_what_they_show(study, kind, said):
    found = texts(study[0] / f"plots/rotten_tomatoes-{kind}.svg")
    assert [text for text in said if text not in found] == []


def test_same_tables_give_the_same_bytes(study, tmp_path):
    again = write_plots(study[0], tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in study[1]]


def test_methods_can_be_told_apart_without_colour():
    for styles in (figures.MARKERS, {method: figures.LINES[method] for method in ("ltp", "topk", "manual")}):
        assert len(set(map(str, styles.values()))) == len(styles)


def study_of(*points, metric="accuracy"):
    """A study of one seed with a setting for each (method, score, FLOPs in %), the same on both splits."""
    return Study("task", "model", [
        Run(Path(f"{i}"), f"{i}", "complete", method=method, stage="base" if method == "dense" else "hard", seed=0,
            label=f"{flops}", metric=metric, settings={"flops": flops}, scores=dict.fromkeys(SPLITS, score),
            relative_flops=dict.fromkeys(SPLITS, flops / 100))
        for i, (method, score, flops) in enumerate(points)
    ])  # fmt: skip


def test_collapsed_runs_are_off_the_axis_and_told():
    figure = accuracy_figure(study_of(("dense", 90, 100), ("ltp", 88, 60), ("ltp", 50, 20)))
    axes = figure.axes[0]
    assert axes.get_ylim()[0] > 85
    assert "off the axis: 1 setting, lowest 50.0 at 20 %" in axes.get_xlabel()


def test_all_points_and_frontiers_are_drawn():
    points = [("dense", 90, 100), ("topk", 88, 60), ("topk", 85, 50), ("topk", 84, 70)]
    axes = accuracy_figure(study_of(*points, metric="matthews")).axes[0]
    drawn = [(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in axes.lines]
    assert ((60, 50), (88, 85)) in drawn or ((50, 60), (85, 88)) in drawn
    assert ((70,), (84,)) in drawn
    assert axes.get_ylabel() == "Test Matthews correlation × 100"


def test_operating_points_stand_before_the_interval_of_their_difference():
    """At the dense model's score and the ends of the difference from it, within the axis."""
    points = [
        SummaryRow("task", "model", "accuracy", "dense", test_score=90.0, relative_flops=1.0),
        SummaryRow(
            "task", "model", "accuracy", "ltp", test_score=88.0, difference=-2.0, difference_low=-9.0,
            difference_high=1.5, relative_flops=0.6,
        ),
        SummaryRow("task", "model", "accuracy", "topk", note="none within 1 point"),
    ]  # fmt: skip
    axes = accuracy_figure(study_of(("dense", 90, 100), ("ltp", 88, 60)), points).axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn.count(([60.0, 60.0], [81.0, 91.5])) == 1
    assert axes.get_ylim()[0] < 81 and axes.get_ylim()[1] > 91.5
    assert "difference from dense, 95 %" in axes.get_legend_handles_labels()[1]
    axes = accuracy_figure(study_of(("dense", 90, 100), ("ltp", 88, 60)), points[:1]).axes[0]
    assert "difference from dense, 95 %" not in axes.get_legend_handles_labels()[1]


def test_legend_covers_no_data():
    figure = accuracy_figure(study_of(("dense", 90, 100), ("ltp", 88, 60)))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_task_without_finished_runs_gets_figures_that_say_so(tmp_path):
    path = write(tmp_path / "run", metrics_of("ltp", "soft", 0, 0.8, 0.5, task="a $b$ task"))
    write_tables([path], tmp_path)
    assert len(write_plots(tmp_path, tmp_path / "plots")) == 8
    assert "no finished runs" in texts(tmp_path / "plots/a $b$ task-accuracy-vs-flops.svg")


def test_a_study_that_recorded_no_costs_gets_a_figure_that_says_so(study, tmp_path):
    shutil.copytree(study[0], tmp_path / "old", ignore=shutil.ignore_patterns("seed~*", "plots"))
    forget_lengths(tmp_path / "old")
    write_plots(tmp_path / "old", tmp_path / "plots")
    assert "no run recorded what each sentence cost" in texts(tmp_path / "plots/rotten_tomatoes-flops-by-length.svg")


def length_row(method, shortest, answer="right", share=0.5, **given):
    longest = shortest + 9
    return LengthRow(**{
        "task": "task", "model": "model", "method": method, "setting": "", "shortest": shortest, "longest": longest,
        "answer": answer, "seeds": 1, "examples": 10, "mean_length": shortest + 4.5, "relative_flops": share,
        "relative_flops_sd": 0.1, "validation_relative_flops": 0.4, **given,
    })  # fmt: skip


def test_right_and_wrong_answers_have_a_panel_each_and_a_regression_has_one():
    rows = [length_row("topk", 10), length_row("topk", 20, share=0.6), length_row("topk", 10, "wrong", 0.7)]
    right, wrong = length_figure([*rows, length_row("dense", 10, share=1.0)]).axes
    assert [list(container.lines[0].get_ydata()) for container in right.containers] == [[50, 60]]
    assert [list(container.lines[0].get_ydata()) for container in wrong.containers] == [[70]]
    assert len(length_figure([length_row("topk", 10, "any"), length_row("topk", 20, "any")]).axes) == 1


def test_methods_lie_side_by_side_and_nothing_is_cut_off():
    rows = [length_row(method, low, answer) for method in ("budget", "ltp", "topk", "manual") for low in (10, 20)
            for answer in ("right", "wrong")]  # fmt: skip
    with rc_context(figures.STYLE):
        figure = length_figure(rows)
        figure.draw_without_rendering()
    places = [tuple(container.lines[0].get_xdata()) for container in figure.axes[0].containers]
    assert len(set(places)) == len(places) == 4
    (legend,) = figure.legends
    whole, box = figure.bbox, legend.get_window_extent()
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_a_single_length_has_its_place():
    figure = length_figure([length_row("topk", 48, longest=48, mean_length=48), length_row("ltp", 48, mean_length=48)])
    low, high = figure.axes[0].get_xlim()
    assert low < 48 < high and [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["48"]


def test_task_that_is_a_path_is_refused(tmp_path):
    write_tables([write(tmp_path / "run", metrics_of("ltp", "hard", 0, 0.8, 0.5, task="../up"))], tmp_path)
    with pytest.raises(LTPError, match="cannot name a file"):
        write_plots(tmp_path, tmp_path / "plots")
    assert not (tmp_path / "up-accuracy-vs-flops.png").exists()


def test_table_of_another_version_is_refused(study, tmp_path):
    shutil.copytree(study[0], tmp_path / "s", ignore=shutil.ignore_patterns("rotten*", "plots"))
    runs = tmp_path / "s/runs.csv"
    runs.write_text(runs.read_text().replace("test_relative_flops", "rel_flops", 1))
    with pytest.raises(LTPError, match=r"runs\.csv: lacks column test_relative_flops"):
        write_plots(tmp_path / "s", tmp_path / "plots")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted), st.floats(0.01, 0.3))
def test_labels_are_moved_apart(values, gap):
    moved = figures._spread(values, gap)
    assert len(moved) == len(values)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(moved))
    if all(b - a >= gap for a, b in itertools.pairwise(values)):
        assert moved == pytest.approx(values)


def test_command_line(study, tmp_path, capsys):
    assert plots_command.run(argparse.Namespace(tables=str(study[0]), output=str(tmp_path / "figures"))) == 0
    assert capsys.readouterr().out.count(".svg") == 4

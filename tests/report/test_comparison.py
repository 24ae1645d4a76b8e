"""The comparison at equal FLOPs and its limits, as page and terminal say them."""

import argparse
import re
import shutil

import pytest
from helpers.fake_study import metrics_of, write, write_study

from ltp.analysis.csv_files import read_rows
from ltp.analysis.matched import MatchedRow
from ltp.analysis.runs import read_studies
from ltp.analysis.summary import SummaryRow
from ltp.analysis.tables import write_tables
from ltp.cli import tables as tables_command
from ltp.report.comparison import at_equal_flops, how_sure_picks_are, unequal_tries, what_intervals_hold
from ltp.report.figures import accuracy_figure
from ltp.report.page import write_page
from ltp.results.run import read_metrics, write_run


def shown(root, capsys):
    """What `ltp tables --show` prints, in one line."""
    assert tables_command.run(argparse.Namespace(results=str(root), output=None, show=True)) == 0
    return " ".join(capsys.readouterr().out.split())


def page_text(root):
    """The text of the page, in one line."""
    text = write_page(root).read_text(encoding="utf-8").split("<body>")[1].replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A study of one seed: 6 settings of learned thresholds, 4 of each baseline."""
    root = tmp_path_factory.mktemp("one")
    write_tables(write_study(root), root)
    return root


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """A study of three seeds in which a top-k setting on the frontier diverged for one of them."""
    root = tmp_path_factory.mktemp("lacking")
    paths = write_study(root, seeds=(0, 1, 2))
    bad = root / "rotten_tomatoes/seed~1/topk/keep_rate~0.1/hard/lr~2e-05"
    write_run(bad, read_metrics(bad) | {"status": "diverged", "reason": "loss is nan", "metrics": {}, "flops": {}})
    write_tables(paths, root)
    return root


def row(method, share, difference, gap=None):
    low, high = difference - 1, difference + 1
    gaps = (None, None, None) if gap is None else (gap, gap - 1, gap + 1)
    return MatchedRow("t", "m", "accuracy", method, share, 1, 80.0, 79.0, 81.0, difference, low, high, *gaps)


def test_sentence_is_of_half_the_flops_where_all_methods_reach_them():
    rows = [row(m, share, d, g) for share in (0.6, 0.5, 0.4) for m, d, g in
            (("ltp", -0.4, None), ("topk", -1.2, 0.8), ("manual", -2.0, 1.6))]  # fmt: skip
    assert at_equal_flops(rows) == (
        "At half the FLOPs, points against dense (95 % CI): learned thresholds −0.4 (−1.4 to +0.6), top-k pruning −1.2 "
        "(−2.2 to −0.2), thresholds set by hand −2.0 (−3.0 to −1.0). Learned minus top-k pruning +0.8 (−0.2 to +1.8); "
        "learned minus thresholds set by hand +1.6 (+0.6 to +2.6)."
    )


def test_sentence_is_of_the_flops_that_most_methods_reach():
    rows = [row("ltp", 0.5, -0.4), row("ltp", 0.7, -0.1), row("topk", 0.7, -0.2, 0.1)]
    assert at_equal_flops(rows).startswith("At 70 % of the FLOPs, ")
    rows = [row("ltp", 0.5, -0.4), row("manual", 0.5, -0.4, 0.0), row("topk", 0.7, -0.2)]
    assert "; no setting of top-k pruning is that cheap." in at_equal_flops(rows)
    assert at_equal_flops([]) is None


def test_a_method_that_is_nowhere_cheap_is_named_and_compared_with_nothing(tmp_path):
    paths = [write(tmp_path / "d", metrics_of("dense", "base", 0, 0.85, 1.0))]
    paths += [write(tmp_path / "b", metrics_of("budget", "hard", 0, 0.85, 0.85, flops_target=0.85))]
    paths += [write(tmp_path / m, metrics_of(m, "hard", 0, 0.85, 0.5)) for m in ("ltp", "topk")]
    write_tables(paths, tmp_path)
    rows = read_rows(tmp_path / "matched.csv", MatchedRow)
    assert {found.method for found in rows} == {"ltp", "topk"}
    assert all((found.learned_minus is None) == (found.method == "ltp") for found in rows)
    text = page_text(tmp_path)
    assert "no setting of thresholds learned for a FLOPs target is that cheap. Learned minus top-k pruning" in text
    assert "1 budget hard, 1 LTP hard, 1 top-k" in text


def test_page_and_terminal_show_the_matched_table(one, capsys):
    rows = read_rows(one / "matched.csv", MatchedRow)
    assert {found.method for found in rows} == {"ltp", "topk", "manual"}
    terminal, page = shown(one, capsys), page_text(one)
    for found in rows:
        interval = f"{found.difference:+.1f} {found.difference_low:+.1f} to {found.difference_high:+.1f}"
        assert interval in terminal and interval.replace("-", "−") in page
        if found.learned_minus is not None:
            interval = f"{found.learned_minus:+.1f} {found.learned_minus_low:+.1f} to {found.learned_minus_high:+.1f}"
            assert interval in terminal and interval.replace("-", "−") in page
    sentence = at_equal_flops(rows)
    assert sentence.startswith("At half the FLOPs") and sentence in terminal and sentence in page


def test_unequal_numbers_of_settings_are_said(one, capsys, tmp_path):
    said = unequal_tries(read_studies(one)[0])
    assert "6 of learned thresholds, 4 of top-k pruning and 4 of thresholds set by hand" in said
    assert said in shown(one, capsys) and said in page_text(one)
    paths = [write(tmp_path / "d", metrics_of("dense", "base", 0, 0.85, 1.0))]
    paths += [write(tmp_path / m, metrics_of(m, "hard", 0, 0.85, 0.5)) for m in ("ltp", "topk", "manual")]
    write_tables(paths, tmp_path)
    assert unequal_tries(read_studies(tmp_path)[0]) is None
    assert "Unequal numbers" not in shown(tmp_path, capsys) + page_text(tmp_path)


def test_how_sure_the_picks_are_is_said_where_it_is_worse_than_the_rule(one, capsys):
    study, rows = read_studies(one)[0], read_rows(one / "summary.csv", SummaryRow)
    picked = [row for row in rows if row.validation_difference is not None]
    assert picked and all(row.validation_difference_low <= row.validation_difference for row in picked)
    said = how_sure_picks_are(study, rows)
    assert said.startswith(
        "The settings were picked by 400 validation examples, which know a difference from dense to ± "
    )
    assert said in shown(one, capsys) and said in page_text(one)
    for row in rows:
        row.validation_difference_low, row.validation_difference_high = -0.5, 0.5
    assert how_sure_picks_are(study, rows) is None and how_sure_picks_are(study, rows[:1]) is None


def test_which_chances_the_intervals_hold_is_said(one, lacking, capsys):
    single = "With one seed the training itself is not in them"
    assert single in shown(one, capsys) and single in page_text(one)
    several = "by bootstrap over the 3 seeds and the examples together"
    assert several in shown(lacking, capsys) and several in page_text(lacking)
    assert single not in shown(lacking, capsys) + page_text(lacking)
    mixed = what_intervals_hold([*read_studies(one), *read_studies(lacking)])
    assert "over the seeds, where there are several, and the examples" in mixed


def test_setting_that_lacks_a_seed_is_drawn_apart(lacking):
    (study,) = read_studies(lacking)
    (setting,) = study.incomplete
    assert setting.label == "token_keep_rate=0.1" and setting not in study.settings
    axes = accuracy_figure(study).axes[0]
    crosses = [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert crosses == [(pytest.approx(63.0), setting.score("test"))]
    for line in axes.lines:  # no frontier and no open mark goes through it
        if line.get_marker() != "x":
            assert not any(x == pytest.approx(63.0) and y == setting.score("test") for x, y in line.get_xydata())
    assert "incomplete: 2 of 3 seeds" in axes.get_legend_handles_labels()[1]
    assert "open: not on the frontier" not in axes.get_legend_handles_labels()[1]


def test_page_marks_a_setting_that_lacks_a_seed(lacking):
    text = write_page(lacking).read_text(encoding="utf-8")
    (mark,) = re.findall(r'<a class="mark topk incomplete"[^>]*>', text)
    assert "incomplete: 1 of 3 seeds missing, so it enters no comparison" in mark and "frontier" not in mark
    assert "incomplete: 2 of 3 seeds" in page_text(lacking)


def test_tables_of_before_the_comparison_say_what_makes_it(one, tmp_path, capsys):
    root = tmp_path / "old"
    shutil.copytree(one, root, ignore=shutil.ignore_patterns("matched.csv", "seed~*"))
    from ltp.common.errors import LTPError

    with pytest.raises(LTPError, match=r"matched\.csv: cannot be read .*make it again with `ltp tables`"):
        shown(root, capsys)

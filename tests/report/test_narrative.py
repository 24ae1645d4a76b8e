"""The page's sentences: what is counted, what is said of methods without results, and the verdict of an interval."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.fake_study import metrics_of, write, write_study

from ltp.analysis.csv_files import read_rows
from ltp.analysis.summary import SummaryRow
from ltp.analysis.tables import write_tables
from ltp.cli.main import main
from ltp.report.narrative import answer
from ltp.report.page import write_page


def test_tasks_without_finished_runs_of_the_learned_method_are_not_counted(tmp_path):
    paths = [write(tmp_path / "d", metrics_of("dense", "base", 0, 0.85, 1.0))]
    paths += [write(tmp_path / "b", metrics_of("budget", "hard", 0, 0.85, 0.5, flops_target=0.5))]
    paths += [write(tmp_path / "i", metrics_of("dense", "base", 0, 0.85, 1.0, task="imdb"))]
    write_tables(paths, tmp_path)
    text = write_page(tmp_path).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "On 1 of 1 tasks a setting of thresholds learned for a FLOPs target stays" in text
    assert "Without finished runs of them: IMDb." in text
    assert "No runs with λ." in text and "No finished runs with λ." not in text


def test_a_method_without_finished_runs_is_not_said_to_lose(tmp_path):
    planned = {str(path.parent.relative_to(tmp_path)): {} for path in write_study(tmp_path)}
    shutil.rmtree(tmp_path / "rotten_tomatoes/seed~0/topk")
    (tmp_path / ".progress.json").write_text(json.dumps({"started": 0.0, "cores": 1, "runs": planned}))
    assert main(["tables", str(tmp_path)]) == 0
    text = write_page(tmp_path).read_text(encoding="utf-8")
    (row,) = [row for row in read_rows(tmp_path / "summary.csv", SummaryRow) if row.method == "topk"]
    assert "missing" in row.note and f"top-k pruning, {row.note}" in text.replace("\u00a0", " ")
    assert "top-k pruning, which has no setting" not in text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.9, 0.5, "is ruled out at that confidence"),
        (-1.4, 0.5, "cannot be ruled out"),
        (-3.0, -1.2, "though on validation it was not"),
    ],
)
def test_verdict_follows_the_interval(low, high, said):
    figures = dict.fromkeys(("test_score", "test_score_low", "test_score_high", "flops_reduction", "gflops"), 80.0)
    figures |= {"difference": -0.5, "difference_low": low, "difference_high": high, "test_examples": 400}
    rows = [SummaryRow("t", "m", "accuracy", method, **figures) for method in ("dense", "ltp")]
    assert said in answer(rows, "accuracy")

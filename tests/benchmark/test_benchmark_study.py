"""The operating points of a study, found and timed."""

from __future__ import annotations

from collections import Counter

import pytest
from helpers.extras import HAS_ONNX

from ltp.analysis.csv_files import csv_text
from ltp.analysis.runs import LAYERS, RUNS, RUNS_COLUMNS, SPLITS
from ltp.benchmark import plots as speed_plots
from ltp.benchmark import table as speed
from ltp.benchmark.runner import Settings, benchmark_study
from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.settings.pruning import PruningSettings

METHODS = ("ltp", "manual")


def runs_csv(folder, *rows):
    """A runs.csv with a finished run for each (task, method, run, score); seeds are numbered by setting."""
    seeds = Counter()
    found = []
    for task, method, run, score in rows:
        stage, relative = ("base", 1.0) if method == "dense" else ("hard", 0.5)
        figures = {f"{split}_score": score for split in SPLITS} | {
            f"{split}_relative_flops": relative for split in SPLITS
        }
        facts = {"task": task, "model": "mini", "method": method, "stage": stage, "seed": seeds[task, method]}
        found.append({"run": run, "status": "complete", "metric": "accuracy", **facts, **figures})
        seeds[task, method] += 1
    (folder / RUNS).write_text(csv_text([*RUNS_COLUMNS, *LAYERS], found), encoding="utf-8")


def test_a_study_gives_each_tasks_point_of_every_method_and_its_dense_model(tmp_path):
    rows = [
        (task, method, f"{task}/seed~{seed}/{run}", 80.0)
        for task in "ab" for method, run in (("dense", "dense/base"), ("ltp", "ltp/a")) for seed in (0, 1)
    ]  # fmt: skip
    others = [(task, "topk", f"{task}/seed~{seed}/topk/x", 80.0) for task, seed in (("a", 0), ("b", 0), ("b", 1))]
    others += [("c", "dense", "c/d", 80.0), ("c", "ltp", "c/l", 70.0)]
    runs_csv(tmp_path, *rows, *others)
    assert speed.operating_points(tmp_path) == [
        speed.OperatingPoint(
            "mini", {"ltp": tmp_path / task / "seed~0/ltp/a"} | more,
            tmp_path / task / "seed~0/dense/base", tmp_path / task / "data",
        )
        for task, more in (("a", {}), ("b", {"topk": tmp_path / "b/seed~0/topk/x"}))
    ]  # fmt: skip


def test_the_control_and_tasks_without_a_class_are_not_timed(tmp_path, capsys):
    rows = [("a", "dense", "a/d", 80.0), ("a", "dense+", "a/c", 80.0), ("a", "ltp", "a/l", 80.0)]
    runs_csv(tmp_path, *rows, *(("b", *row[1:2], f"b/{row[2]}", row[3]) for row in rows))
    (tmp_path / "b/data").mkdir(parents=True)
    (tmp_path / "b/data/task.json").write_text('{"schema": 1, "kind": "tokens"}')
    assert [point.runs for point in speed.operating_points(tmp_path)] == [{"ltp": tmp_path / "a/l"}]
    assert capsys.readouterr().err == "b: left out: timings are of classifiers, its kind is tokens\n"


def test_a_study_without_a_pruned_point_says_so(tmp_path):
    runs_csv(tmp_path, ("a", "dense", "a/d", 80.0), ("a", "ltp", "a/l", 70.0))
    with pytest.raises(LTPError, match="no task has a pruned setting within 1 point of dense; name the run to time"):
        speed.operating_points(tmp_path)


def test_the_points_of_a_study_are_timed_against_its_dense_model(tiny_study, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task/data").symlink_to(tiny_study.data)
    convert(
        tiny_study.base, tmp_path / "manual", PruningSettings(prune_mode="rising_threshold", final_token_threshold=0.6)
    )
    rows = [("dense", tiny_study.base), ("ltp", tiny_study.converted), ("manual", tmp_path / "manual")]
    runs_csv(tmp_path, *(("task", method, str(run), 80.0) for method, run in rows))
    only = ("hf-dynamic", *(["ltp-onnx", "ltp-onnx-int8"] if HAS_ONNX else []))
    rows = benchmark_study(
        tmp_path, tmp_path / "speed.csv", Settings(batch_sizes=(1, 2), sentences=6, repeats=1, only=only)
    )
    assert {row["model"] for row in rows} == {"mini"}
    expected = [("hf-dynamic", "dense")] + [(name, method) for name in ("ltp", *only[1:]) for method in METHODS]
    assert [(row["backend"], row["method"]) for row in rows] == 2 * expected
    titles = {row["title"] for row in rows}
    assert {"packed, pruned, LTP", "packed, pruned, manual thresholds"} < titles and len(titles) == len(expected)
    costs = {row["method"]: row["flops_reduction"] for row in rows}
    assert costs["dense"] == 1.0 and len(set(costs.values())) == 3
    for row in rows:
        assert row["agreement"] == 1.0 or row["weights"] == "int8"
    drawn = {path.name for path in speed_plots.write_speed_plots(tmp_path / "speed.csv")}
    assert "speed-batch-mini-sst2-24.png" in drawn

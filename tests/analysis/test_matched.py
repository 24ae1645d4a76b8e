"""Scores at equal FLOPs: interpolated along validation frontiers, with the picking inside the intervals."""

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_study import EXAMPLES, metrics_of, write, write_study

from ltp.analysis.csv_files import read_rows
from ltp.analysis.matched import MatchedRow
from ltp.analysis.tables import write_tables
from ltp.results.run import read_metrics, read_predictions, write_predictions, write_run


def table(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def matched_of(folder):
    return {(row.method, row.relative_flops): row for row in read_rows(folder / "matched.csv", MatchedRow)}


def add(root, method, validation, test, relative, noise=0, task="rotten_tomatoes", **settings):
    """A run whose predictions have exactly these accuracies."""
    stage = "base" if method == "dense" else "hard"
    name = "-".join([method, *(f"{value:g}" for value in settings.values())])
    metrics = metrics_of(method, stage, 0, validation, relative, task=task, **settings)
    metrics["metrics"]["test"] = {"accuracy": test}
    return write(root / name, metrics, noise)


def test_scores_lie_on_the_line_between_neighbours_and_dense_ends_the_curve(tmp_path):
    paths = [
        add(tmp_path, "dense", 0.90, 0.90, 1.0),
        add(tmp_path, "ltp", 0.88, 0.86, 0.6, **{"lambda": 0.1}),
        add(tmp_path, "ltp", 0.80, 0.80, 0.4, **{"lambda": 0.2}),
        add(tmp_path, "topk", 0.87, 0.85, 0.65, token_keep_rate=0.4),
    ]
    write_tables(paths, tmp_path)
    rows = matched_of(tmp_path)
    expected = {0.8: 88.0, 0.7: 87.0, 0.6: 86.0, 0.5: 83.0, 0.4: 80.0}
    assert {share: rows["ltp", share].score for share in expected} == pytest.approx(expected)
    assert {share for method, share in rows if method == "ltp"} == set(expected)  # 0.3 is below its cheapest setting
    assert {share for method, share in rows if method == "topk"} == {0.8, 0.7}
    assert rows["topk", 0.8].score == pytest.approx(85 + 5 * 15 / 35)
    for row in rows.values():
        assert row.difference == pytest.approx(row.score - 90)
        assert row.score_low <= row.score <= row.score_high and row.difference_low <= row.difference_high
    assert rows["topk", 0.7].learned_minus == pytest.approx(rows["ltp", 0.7].score - rows["topk", 0.7].score)
    assert rows["ltp", 0.7].learned_minus is None


def test_the_mean_over_tasks_is_over_shares_that_all_of_them_reach(tmp_path):
    paths = []
    for task, dense, cheapest in (("one", 0.90, 0.4), ("two", 0.80, 0.55)):
        root = tmp_path / task
        paths += [
            add(root, "dense", dense, dense, 1.0, task=task),
            add(root, "ltp", dense - 0.02, dense - 0.04, 0.6, noise=1, task=task, **{"lambda": 0.1}),
            add(root, "ltp", dense - 0.1, dense - 0.1, cheapest, noise=2, task=task, **{"lambda": 0.2}),
            add(root, "topk", dense - 0.03, dense - 0.05, 0.65, noise=3, task=task, token_keep_rate=0.4),
        ]
    write_tables(paths, tmp_path)
    every = read_rows(tmp_path / "matched.csv", MatchedRow)
    mean = {(row.method, row.relative_flops): row for row in every if row.task == "all"}
    assert {share for method, share in mean if method == "ltp"} == {0.8, 0.7, 0.6}
    for (method, share), row in mean.items():
        own = [r for r in every if r.task != "all" and (r.method, r.relative_flops) == (method, share)]
        assert row.score == pytest.approx(np.mean([r.score for r in own])) and row.metric == "mean of 2 tasks"
        assert row.difference == pytest.approx(np.mean([r.difference for r in own]))
        # Of two independent tasks the mean varies less than either.
        widths = [r.difference_high - r.difference_low for r in own]
        assert row.difference_high - row.difference_low == pytest.approx(np.hypot(*widths) / 2, rel=0.25)
    gaps = [r.learned_minus for r in every if r.task != "all" and (r.method, r.relative_flops) == ("topk", 0.7)]
    assert mean["topk", 0.7].learned_minus == pytest.approx(np.mean(gaps))


def test_the_frontier_is_that_of_validation(tmp_path):
    paths = [
        add(tmp_path, "dense", 0.90, 0.90, 1.0),
        add(tmp_path, "ltp", 0.85, 0.80, 0.5, **{"lambda": 0.1}),
        add(tmp_path, "ltp", 0.70, 0.89, 0.6, **{"lambda": 0.2}),  # dearer and worse on validation; lucky on test
    ]
    write_tables(paths, tmp_path)
    assert matched_of(tmp_path)["ltp", 0.6].score == pytest.approx(82.0)


def test_picking_is_inside_the_interval(tmp_path):
    """Of two settings as good on validation but far apart on test, draws pick now one and now the other."""
    both = [
        add(tmp_path, "dense", 0.90, 0.90, 1.0),
        add(tmp_path, "ltp", 0.85, 0.60, 0.50, noise=1, **{"lambda": 0.1}),
        add(tmp_path, "ltp", 0.85, 0.85, 0.501, noise=2, **{"lambda": 0.2}),
    ]
    write_tables(both, tmp_path)
    unsure = matched_of(tmp_path)["ltp", 0.6]
    write_tables(both[:2], tmp_path)
    sure = matched_of(tmp_path)["ltp", 0.6]
    assert unsure.score_high - unsure.score_low > 2 * (sure.score_high - sure.score_low)


def test_interval_at_a_setting_s_own_flops_is_the_paired_one(tmp_path):
    paths = [add(tmp_path, "dense", 0.9, 0.9, 1.0), add(tmp_path, "ltp", 0.85, 0.85, 0.5, noise=1, **{"lambda": 0.1})]
    write_tables(paths, tmp_path)
    row = matched_of(tmp_path)["ltp", 0.5]
    answers = [read_predictions(path.parent)["test"] for path in paths]
    right = [np.equal(columns["labels"], columns["predictions"]) for columns in answers]
    half = 1.96 * 100 * (right[1].astype(float) - right[0]).std() / EXAMPLES**0.5
    assert row.difference_low == pytest.approx(row.difference - half, abs=0.15 * half)
    assert row.difference_high == pytest.approx(row.difference + half, abs=0.15 * half)


def test_same_predictions_differ_by_nothing_between_methods(tmp_path):
    paths = [
        add(tmp_path, "dense", 0.9, 0.9, 1.0),
        add(tmp_path, "ltp", 0.85, 0.85, 0.5, noise=1, **{"lambda": 0.1}),
        add(tmp_path, "topk", 0.85, 0.85, 0.5, noise=1, token_keep_rate=0.1),
    ]
    write_tables(paths, tmp_path)
    row = matched_of(tmp_path)["topk", 0.6]
    assert (row.learned_minus, row.learned_minus_low, row.learned_minus_high) == (0, 0, 0)
    assert row.difference_low < row.difference < row.difference_high


def test_without_dense_there_is_no_curve(tmp_path):
    write_tables([add(tmp_path, "ltp", 0.85, 0.85, 0.5, **{"lambda": 0.1})], tmp_path)
    assert matched_of(tmp_path) == {}


def test_damaged_predictions_of_any_setting_leave_its_run_out(tmp_path):
    paths = write_study(tmp_path)
    run = next(path.parent for path in paths if "keep_rate~-0.3" in str(path))  # not the operating point
    splits = read_predictions(run)
    write_predictions(run, splits | {"test": {key: value[::-1] for key, value in splits["test"].items()}})
    (problem,) = write_tables(paths, tmp_path)
    assert "predictions.json" in problem and problem.startswith("damaged: ")
    assert min(share for method, share in matched_of(tmp_path) if method == "topk") == 0.7


def test_interval_covers_the_curve_of_the_models_themselves(tmp_path):
    """Of settings that have the same true score, picked by noise, the interval covers it nearly as often as it says."""
    from ltp.analysis.load import load_run
    from ltp.analysis.matched import curves_of, matched_rows
    from ltp.analysis.study import Study

    covered = []
    for trial in range(30):
        root = Path(tmp_path, str(trial))
        rng = np.random.default_rng(trial)
        paths = []
        for name, relative in (("dense", 1.0), ("a", 0.58), ("b", 0.59), ("c", 0.6)):
            method, stage = ("dense", "base") if name == "dense" else ("ltp", "hard")
            settings = {} if name == "dense" else {"lambda": relative}
            path = write(root / name, metrics_of(method, stage, 0, 0.8, relative, **settings))
            labels = np.random.default_rng([trial, 1]).integers(0, 2, EXAMPLES)
            splits = {
                split: {"labels": labels, "predictions": np.where(rng.random(EXAMPLES) < 0.8, labels, 1 - labels)}
                for split in ("validation", "test")
            }
            write_predictions(path.parent, splits)
            found = {
                split: {"accuracy": float(np.equal(*columns.values()).mean())} for split, columns in splits.items()
            }
            write_run(path.parent, read_metrics(path) | {"metrics": found})
            paths.append(path)
        study = Study("t", "m", [load_run(path, root) for path in paths])
        row = next(row for row in matched_rows(curves_of(study, resamples=300)) if row.relative_flops == 0.6)
        covered.append(row.score_low <= 80 <= row.score_high)
    assert np.mean(covered) >= 0.8

"""Tables: what is picked, what is left out and said, means over seeds, and the same bytes from the same runs."""

import argparse
import csv
import json
import shutil

import pytest
from helpers.fake_study import metrics_of, write, write_study
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.analysis.csv_files import read_rows
from ltp.analysis.frontier import frontier
from ltp.analysis.load import runs_of_study
from ltp.analysis.runs import read_studies
from ltp.analysis.summary import SummaryRow
from ltp.analysis.tables import write_tables
from ltp.cli import tables as tables_command
from ltp.common.errors import LTPError
from ltp.report.terminal import render_tables
from ltp.results.run import read_metrics, write_run


def table(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def summary_of(folder):
    return {row["method"]: row for row in table(folder, "summary.csv")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A made-up study of one seed, tables written."""
    root = tmp_path_factory.mktemp("study")
    write_tables(write_study(root), root)
    return root


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """The same of three seeds."""
    root = tmp_path_factory.mktemp("seeds")
    write_tables(write_study(root, seeds=(0, 1, 2)), root)
    return root


scores_and_flops = st.lists(
    st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float))
    | st.tuples(st.floats(0, 100), st.floats(0, 1))
)


@settings(derandomize=True, deadline=None)
@given(scores_and_flops)
def test_frontier_is_what_no_other_beats(points):
    def beats(one, other):
        return one[0] >= other[0] and one[1] <= other[1] and one != other

    kept = set(frontier(points))
    for i, point in enumerate(points):
        assert (i in kept) == (not any(beats(other, point) for other in points))


def test_runs_has_a_row_for_every_run(study):
    rows = table(study, "runs.csv")
    assert len(rows) == 1 + 12 + 4 + 4
    assert {row["status"] for row in rows} == {"complete"}
    hard = next(row for row in rows if row["run"].endswith("ltp/temperature~0.001/lambda~0.1/hard/lr~2e-05"))
    assert hard["setting"] == "temperature=0.001 lambda=0.1"
    assert hard["setting_learning_rate"] == "2e-05" and hard["seed"] == "0"
    assert float(hard["test_score"]) == float(hard["test_accuracy"]) == 81.25  # points
    assert hard["test_relative_flops"] == "0.59" and hard["test_loss"] == "0.4"
    assert len(hard["layer_threshold"].split(";")) == 6 and hard["layer_attention_tokens"].startswith("27;")
    timing = [column.startswith("timing_") for column in rows[0]]
    assert any(timing) and timing == sorted(timing)  # last, so that the rest can be compared byte by byte


def test_frontier_has_final_runs_of_every_method(study):
    rows = table(study, "frontier.csv")
    assert {row["method"] for row in rows} == {"dense", "ltp", "topk", "manual"}
    assert not any("/soft" in row["runs"] for row in rows)
    listed = {row["runs"] for row in rows}
    assert {row["run"] for row in table(study, "runs.csv") if row["frontier"] == "true"} == listed


def test_summary_takes_the_cheapest_within_a_point_on_validation(study):
    rows = summary_of(study)
    assert list(rows) == ["dense", "ltp", "topk", "manual"]
    dense = float(rows["dense"]["validation_score"])
    for method in ("ltp", "topk", "manual"):
        row = rows[method]
        within = [
            float(run["validation_relative_flops"])
            for run in table(study, "runs.csv")
            if run["method"] == method and run["stage"] == "hard" and float(run["validation_score"]) >= dense - 1
        ]
        assert float(row["relative_flops"]) == min(within)
        assert float(row["flops_reduction"]) == pytest.approx(1 / min(within))
        assert float(row["test_score_low"]) < float(row["test_score"]) < float(row["test_score_high"])
        assert float(row["difference_low"]) < float(row["difference"]) < float(row["difference_high"])
        assert float(row["difference"]) == pytest.approx(float(row["test_score"]) - float(rows["dense"]["test_score"]))
        assert row["test_examples"] == "400" and row["test_score_sd"] == ""
    assert rows["dense"]["gflops"] == "0.6" and rows["dense"]["difference"] == ""


def test_test_split_is_never_used_for_picking(tmp_path):
    def run(name, method, stage, validation, test, relative, **settings):
        metrics = metrics_of(method, stage, 0, 0.8, relative, **settings)
        metrics["metrics"] = {"validation": {"accuracy": validation}, "test": {"accuracy": test}}
        return write(tmp_path / name, metrics)

    paths = [
        run("dense", "dense", "base", 0.80, 0.80, 1.0),
        run("lucky", "topk", "hard", 0.70, 0.95, 0.2, token_keep_rate=0.1),
        run("right", "topk", "hard", 0.79, 0.60, 0.5, token_keep_rate=0.4),  # exactly one point: it counts
        run("dear", "topk", "hard", 0.80, 0.90, 0.9, token_keep_rate=0.8),
    ]
    write_tables(paths, tmp_path)
    row = summary_of(tmp_path)["topk"]
    assert row["runs"] == "right" and float(row["test_score"]) == 60 and float(row["difference"]) == -20


def test_the_control_is_shown_at_its_best_however_far_from_dense(tmp_path):
    paths = write_study(tmp_path)
    for n, (rate, accuracy) in enumerate((("1e-05", 0.79), ("2e-05", 0.81))):
        control = metrics_of("dense+", "hard", 0, accuracy, 1.0, learning_rate=float(rate))
        paths.append(write(tmp_path / f"rotten_tomatoes/seed~0/dense+/hard/lr~{rate}", control, 50 + n))
    write_tables(paths, tmp_path)
    rows = summary_of(tmp_path)
    assert list(rows) == ["dense", "dense+", "ltp", "topk", "manual"]
    row = rows["dense+"]
    assert row["runs"].endswith("dense+/hard/lr~2e-05") and row["relative_flops"] == "1" and row["note"] == ""
    assert float(row["difference"]) == pytest.approx(-3) and row["difference_low"] != ""


def test_runs_in_different_precisions_are_one_study_and_named(tmp_path):
    """The format is that of the machine that made a run: seeds are averaged all the same, and the note says it."""

    def run(name, method, stage, seed, relative, precision):
        return write(tmp_path / name, metrics_of(method, stage, seed, 0.8, relative, precision=precision))

    paths = [
        run("dense/0", "dense", "base", 0, 1.0, "bf16"), run("dense/1", "dense", "base", 1, 1.0, "bf16"),
        run("topk/0", "topk", "hard", 0, 0.5, "bf16"), run("topk/1", "topk", "hard", 1, 0.5, "fp32"),
        run("ltp/0", "ltp", "hard", 0, 0.5, "bf16"), run("ltp/1", "ltp", "hard", 1, 0.5, "bf16"),
    ]  # fmt: skip
    write_tables(paths, tmp_path)
    rows = summary_of(tmp_path)
    assert rows["topk"]["seeds"] == "2" and "precision" not in rows["topk"]["setting"]
    assert rows["topk"]["note"] == "trained in bf16 and fp32, dense in bf16"
    assert rows["ltp"]["note"] == rows["dense"]["note"] == ""
    assert {row["setting_precision"] for row in table(tmp_path, "runs.csv")} == {"bf16", "fp32"}
    text = render_tables(read_studies(tmp_path), read_rows(tmp_path / "summary.csv", SummaryRow), [])
    assert "topk: trained in bf16 and fp32, dense in bf16" in text


def test_none_within_a_point_gives_an_empty_row_with_a_note(tmp_path):
    paths = [
        write(tmp_path / "dense", metrics_of("dense", "base", 0, 0.85, 1.0)),
        write(tmp_path / "poor", metrics_of("manual", "hard", 0, 0.80, 0.5, final_token_threshold=0.01)),
    ]
    write_tables(paths, tmp_path)
    row = summary_of(tmp_path)["manual"]
    assert row["setting"] == row["test_score"] == row["runs"] == ""
    assert row["note"] == "none of 1 within 1 point of dense on validation (best -5.0: θ=0.01)"
    assert "none of 1" in render_tables(read_studies(tmp_path), read_rows(tmp_path / "summary.csv", SummaryRow), [])


def test_seeds_that_lack_a_run_are_named(tmp_path):
    paths = [write(tmp_path / f"dense{seed}", metrics_of("dense", "base", seed, 0.85, 1.0)) for seed in (0, 1)]
    paths += [write(tmp_path / "ltp0", metrics_of("ltp", "hard", 0, 0.85, 0.5))]
    paths += [write(tmp_path / f"topk{seed}", metrics_of("topk", "hard", seed, 0.85, 0.5)) for seed in (0, 1, 2)]
    write_tables(paths, tmp_path)
    rows = summary_of(tmp_path)
    assert rows["ltp"]["note"] == "no setting has the runs of all 2 seeds (1 lack one or more)"
    assert rows["topk"]["note"] == "seed 2 left out: no dense run" and rows["topk"]["seeds"] == "2"
    assert rows["dense"]["note"] == ""


def test_without_dense_nothing_is_compared(tmp_path):
    write_tables([write(tmp_path / "run", metrics_of("ltp", "hard", 0, 0.8, 0.5))], tmp_path)
    row = summary_of(tmp_path)["ltp"]
    assert row["test_score"] == "" and "no complete dense run" in row["note"]
    assert [row["method"] for row in table(tmp_path, "frontier.csv")] == ["ltp"]


def test_seeds_are_averaged(seeds):
    rows = summary_of(seeds)
    of_seed = [
        float(row["test_score"])
        for row in table(seeds, "runs.csv")
        if row["setting"] == rows["ltp"]["setting"] and row["stage"] == "hard"
    ]
    assert len(of_seed) == 3 and rows["ltp"]["seeds"] == "3"
    mean = sum(of_seed) / 3
    deviation = (sum((score - mean) ** 2 for score in of_seed) / 2) ** 0.5
    assert float(rows["ltp"]["test_score"]) == pytest.approx(mean)
    assert float(rows["ltp"]["test_score_sd"]) == pytest.approx(deviation)
    assert float(rows["ltp"]["relative_flops_sd"]) > 0
    assert len(rows["ltp"]["runs"].split(";")) == 3
    assert all(row["seeds"] == "3" for row in table(seeds, "frontier.csv"))


def test_setting_that_diverged_in_one_seed_is_not_averaged_over_the_others(tmp_path):
    paths = write_study(tmp_path, seeds=(0, 1))
    write_tables(paths, tmp_path)
    chosen = tmp_path / summary_of(tmp_path)["topk"]["runs"].split(";")[1]
    metrics = read_metrics(chosen)
    write_run(chosen, metrics | {"status": "diverged", "reason": "loss is nan", "metrics": {}, "flops": {}})
    problems = write_tables(paths, tmp_path)
    assert len(problems) == 1 and "diverged" in problems[0] and "loss is nan" in problems[0]
    row = summary_of(tmp_path)["topk"]
    assert chosen.relative_to(tmp_path).parts[3] not in row["runs"] and row["seeds"] == "2"
    assert row["note"] == "1 diverged"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["metrics.json", "config.json", "predictions.json", "model.safetensors"])
def test_damaged_run_is_never_averaged_in(tmp_path, study, name):
    root = tmp_path / "study"
    shutil.copytree(study, root)
    before = summary_of(root)["ltp"]
    flip(root / before["runs"] / name)
    (problem,) = write_tables(runs_of_study(root), root)
    assert problem.startswith("damaged: ") and name in problem and "run snakemake again" in problem
    rows = {row["run"]: row for row in table(root, "runs.csv")}
    damaged = rows[before["runs"]]
    assert damaged["status"] == "damaged" and name in damaged["reason"]
    assert damaged["test_score"] == damaged["layer_threshold"] == ""
    assert damaged["method"] == "ltp" and damaged["setting"] == before["setting"]
    after = summary_of(root)["ltp"]
    assert after["runs"] not in ("", before["runs"]) and after["note"] == "1 damaged"
    assert before["runs"] not in {row["runs"] for row in table(root, "frontier.csv")}


def test_missing_and_unfinished_runs_are_listed(tmp_path):
    paths = write_study(tmp_path)
    gone = next(path for path in paths if "keep_rate~0.1" in str(path))
    shutil.rmtree(gone.parent)
    problems = write_tables(paths, tmp_path)
    assert len(problems) == 1 and problems[0].startswith("missing: ")
    row = next(row for row in table(tmp_path, "runs.csv") if row["status"] == "missing")
    assert (row["task"], row["method"], row["stage"], row["seed"]) == ("rotten_tomatoes", "topk", "hard", "0")
    assert row["setting"] == "token_keep_rate=0.1" and row["setting_token_keep_rate"] == "0.1"
    assert "run snakemake again" in row["reason"]
    (gone.parent / "checkpoint").mkdir(parents=True)  # it was interrupted
    assert gone in runs_of_study(tmp_path)


def test_run_on_other_data_is_left_out(tmp_path):
    paths = write_study(tmp_path)
    other = next(path for path in paths if "keep_rate~0.4" in str(path)).parent
    write_run(other, read_metrics(other) | {"data_fingerprint": "e" * 64})
    (problem,) = write_tables(paths, tmp_path)
    assert "other data" in problem
    assert "keep_rate~0.4" not in summary_of(tmp_path)["topk"]["runs"]


def test_same_metrics_give_the_same_bytes(tmp_path, study):
    first = tmp_path / "a"
    shutil.copytree(study, first)
    for name in ("runs.csv", "frontier.csv", "summary.csv", "matched.csv", "lengths.csv"):
        (first / name).unlink()
    write_tables(reversed(runs_of_study(first)), first)
    for name in ("runs.csv", "frontier.csv", "summary.csv", "matched.csv", "lengths.csv"):
        assert (first / name).read_bytes() == (study / name).read_bytes()


def test_glue_mean_and_further_splits(tmp_path):
    paths = []
    for name, method, stage, relative in (("dense", "dense", "base", 1.0), ("topk", "topk", "hard", 0.5)):
        metrics = metrics_of(method, stage, 0, 0.9, relative)
        metrics["settings"]["selection"] = "half"
        path = write(tmp_path / name, metrics)
        found = {"accuracy": metrics["metrics"]["test"]["accuracy"], "f1": 0.9, "mean": 0.9}
        scores = {"validation": found, "test": found, "test_mismatched": {"mean": 0.875}}
        write_run(path.parent, metrics | {"primary_metric": "mean", "metrics": scores})
        paths.append(path)
    write_tables(paths, tmp_path)
    row = summary_of(tmp_path)["topk"]
    assert row["metric"] == "mean" and row["selection"] == "half"
    assert row["other_scores"] == "test_accuracy=90.00 test_f1=90.00 test_mismatched_mean=87.50"


def test_command_line(tmp_path, study, capsys):
    arguments = argparse.Namespace(results=str(study), output=str(tmp_path / "out"), show=False)
    assert tables_command.run(arguments) == 0
    shown = capsys.readouterr().out
    assert "rotten_tomatoes" in shown and "T=0.001 λ=0.05" in shown and "1.33 ×" in shown
    assert max(map(len, shown.splitlines())) <= 110
    arguments.show = True
    assert tables_command.run(arguments) == 0 and capsys.readouterr().out == shown
    with pytest.raises(LTPError, match="holds no runs"):
        tables_command.run(argparse.Namespace(results=str(tmp_path / "out"), output=None, show=False))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-20], "cut"),
        (lambda text: text.replace("flops_reduction", "speed"), "lacks column flops_reduction"),
        (lambda text: "", "lacks column task"),
        (lambda text: text + "one,two\n", "cut"),
        (lambda text: text.replace(",400,", ",many,", 1), "line 2 has text for a number"),
    ],
)
def test_damaged_table_is_refused(tmp_path, study, damage, said):
    path = tmp_path / "summary.csv"
    path.write_text(damage((study / "summary.csv").read_text()))
    with pytest.raises(LTPError, match=said) as error:
        read_rows(path, SummaryRow)
    assert "ltp tables" in str(error.value) and str(path) in str(error.value)


def test_seed_in_the_settings_does_not_split_a_setting(seeds):
    rows = [row for row in table(seeds, "runs.csv") if row["method"] == "dense"]
    assert {row["setting_seed"] for row in rows} == {"0", "1", "2"}
    assert len([row for row in table(seeds, "frontier.csv") if row["method"] == "dense"]) == 1


def test_metrics_can_hold_null(tmp_path):
    dense = write(tmp_path / "dense", metrics_of("dense", "base", 0, 0.8, 1.0))
    path = write(tmp_path / "run", metrics_of("ltp", "hard", 0, 0.8, 0.5))
    content = read_metrics(path)
    content["metrics"]["validation"]["accuracy"] = None
    write_run(path.parent, content)
    write_tables([dense, path], tmp_path)
    row = next(row for row in table(tmp_path, "runs.csv") if row["run"] == "run")
    assert row["validation_score"] == "" and json.loads(path.read_text())["status"] == "complete"
    assert summary_of(tmp_path)["ltp"]["note"] == "no complete runs"

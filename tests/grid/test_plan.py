"""What a grid costs, and how far a study is."""

import json
import os
from pathlib import Path

import pytest
from helpers import fake_study

from ltp.common.errors import LTPError
from ltp.grid import plan, progress, sizes
from ltp.grid.grid import Grid

GRID = {
    "tasks": {"rotten_tomatoes": {}},
    "data": {"max_length": 64, "train_examples": 5000},
    "base": {"epochs": 1},
    "soft": {"temperatures": [0.001], "lambdas": [0.1, 0.2], "epochs": 2},
    "hard": {"learning_rates": [1e-5, 2e-5], "epochs": 3},
    "baselines": {"topk": {"keep_rates": [0.5]}, "manual": None},
}


@pytest.fixture
def grid(tmp_path):
    return Grid(GRID | {"results_dir": str(tmp_path)})


def prepare(grid, examples: int, mean_length: float) -> None:
    for task in grid.config.tasks:
        folder = Path(grid.results_dir, task, "data")
        folder.mkdir(parents=True)
        info = {"schema": 1, "examples": {"train": examples, "validation": 100}, "mean_length": {"train": mean_length}}
        (folder / "task.json").write_text(json.dumps(info))


def test_tokens_are_examples_times_length_times_epochs(grid):
    prepare(grid, 4000, 25.0)
    text = plan.render_plan(grid, tokens_per_second=1000.0)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["rotten_tomatoes"] == ["4,000", "25", "measured"]
    assert rows["base"] == ["1", "100,000", "0.03"]
    assert rows["soft"] == ["2", "400,000", "0.11"]
    assert rows["hard"] == ["4", "1,200,000", "0.33"]
    assert rows["topk"] == ["2", "1,000,000", "0.28"]
    assert rows["all"] == ["9", "2,700,000", "0.75"]
    assert text.endswith("About 0.75 hours at 1,000 tokens/s a job, one job at a time.")
    assert "About 0.38 hours at 1,000 tokens/s a job, 2 jobs at a time." in plan.render_plan(grid, 1000.0, jobs=2)


def test_before_the_data_are_there_known_sizes_serve(grid):
    assert sizes.task_sizes(grid) == {"rotten_tomatoes": sizes.Size(5000, 27, False, 853)}
    whole = Grid({"tasks": {"rotten_tomatoes": {}, "mnli": {"data": {"max_length": 20}}}, "results_dir": "none"})
    found = sizes.task_sizes(whole)
    assert found["rotten_tomatoes"].examples == 8530 - 2 * 853
    assert found["mnli"] == sizes.Size(392_702, 20, False, 9815 // 2)


def test_a_task_that_holds_out_all_its_text_is_refused(tmp_path):
    data = {"validation_examples": 5000, "test_examples": 5000}
    grid = Grid({"tasks": {"rotten_tomatoes": {"data": data}}, "results_dir": str(tmp_path)})
    with pytest.raises(LTPError, match=r"tasks.rotten_tomatoes.data: .* leave none of the 8,530 packaged examples"):
        plan.render_plan(grid, 1000.0)


def test_what_only_sets_thresholds_costs_an_evaluation(tmp_path):
    soft = GRID["soft"] | {"flops_targets": [0.7, 0.5, 0.3]}
    grid = Grid(GRID | {"results_dir": str(tmp_path), "soft": soft})
    prepare(grid, 1000, 10.0)
    progress.start(grid, cores=1)
    runs = progress._state(tmp_path)["runs"]
    assert runs["rotten_tomatoes/seed~0/budget/target~0.7/hard"]["tokens"] == 500  # half of 100 sentences of 10
    assert runs["rotten_tomatoes/seed~0/dense/base"]["tokens"] == 10_500


def test_a_task_of_unknown_size_is_named_with_the_way_to_know_it():
    own = {"source": "hub", "path": "a/b", "text_columns": ["t"]}
    text = plan.render_plan(Grid({"tasks": {"own": own}, "results_dir": "none"}), 1000.0)
    assert "until the data are prepared: own; snakemake --cores 1 none/own/data/task.json" in text
    asked = Grid({"tasks": {"own": own}, "data": {"train_examples": 10}, "results_dir": "none"})
    assert sizes.task_sizes(asked)["own"] == sizes.Size(10, 128, False, None)


def finish(grid, directory: str, seconds: float, **other) -> None:
    run = grid.runs[directory]
    metrics = fake_study.metrics_of(run.method, run.stage, run.seed, 0.8, 1.0) | other
    metrics["timing"]["total_seconds"] = seconds
    fake_study.write(Path(directory), metrics)


def test_a_report_counts_what_is_done_and_judges_the_rest_by_it(grid):
    prepare(grid, 1000, 10.0)
    progress.start(grid, cores=2)
    root, (base, soft, *_) = grid.results_dir, grid.runs
    assert progress.report(root) == "0 of 9 runs done, 0 running"
    finish(grid, base, seconds=10)  # 10,000 tokens: 1 ms each, 260,000 tokens to go on two cores
    assert progress.report(root, base) == "rotten_tomatoes base done: 1 of 9 runs done, 0 running, about 2 min left"
    assert progress._seconds_left(
        Path(root), progress._state(root)["runs"], {"rotten_tomatoes/seed~0/dense/base": 1.0}, [], 2
    ) == pytest.approx(8 * 500 / 2 * 10 / 10_500 + 130 * 10_000 / 10_500)
    log = Path(root, "logs", os.path.relpath(soft, root) + ".log")
    log.parent.mkdir(parents=True)
    log.touch()
    assert ", 1 running, about 2 min left" in progress.report(root)
    finish(grid, soft, seconds=0, status="diverged", reason="the loss is NaN")
    assert progress.report(root, soft).startswith(
        "rotten_tomatoes soft temperature~0.001 lambda~0.1 diverged (the loss is NaN): 2 of 9 runs done, 0 running"
    )
    for directory in list(grid.runs)[2:]:
        finish(grid, directory, seconds=1)
    assert progress.report(root) == "9 of 9 runs done"


def test_what_starts_from_a_run_that_is_made_again_is_not_done(grid):
    prepare(grid, 1000, 10.0)
    progress.start(grid, cores=2)
    root, (base, soft, hard, *_) = grid.results_dir, grid.runs
    assert grid.runs[hard].checkpoint == soft
    for place, directory in enumerate(grid.runs):
        finish(grid, directory, seconds=1)
        os.utime(Path(directory, "metrics.json"), (1000 + place, 1000 + place))
    assert progress.report(root) == "9 of 9 runs done"
    os.utime(Path(soft, "metrics.json"))
    children = sum(run.checkpoint == soft for run in grid.runs.values())
    assert progress.report(root).startswith(f"{9 - children} of 9 runs done")
    Path(base, "metrics.json").unlink()  # as the workflow does before it makes a run again
    assert progress.report(root).startswith("0 of 9 runs done")


def test_the_final_summary_adds_up_only_the_jobs_of_this_workflow(grid):
    progress.start(grid, cores=2)
    root = Path(grid.results_dir)
    (root / "benchmarks").mkdir()
    (root / "summary.csv").touch()
    for name, seconds in (("old", 100.0), ("a", 3.0), ("b", 4.5)):
        (root / f"benchmarks/{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:03\n")
    os.utime(root / "benchmarks/old.tsv", (0, 0))
    lines = progress.final_summary(root).splitlines()
    assert lines[0].startswith(f"tables  {root}/summary.csv")
    assert not any(line.startswith(("plots", "page")) for line in lines)
    assert "for 2 jobs; job seconds × threads ÷ (cores × wall seconds) = 8 ÷ (2 × " in lines[-1]


def test_a_job_counts_with_the_threads_of_its_run(grid):
    root, base = Path(grid.results_dir), next(iter(grid.runs))
    job = Path(root, "benchmarks", os.path.relpath(base, root) + ".tsv")
    job.parent.mkdir(parents=True)
    job.write_text("s\th:m:s\n3.0\t0:00:03\n")
    assert progress.job_seconds(root, cores=2) == [3.0]
    finish(grid, base, seconds=3, environment={"threads": 2})
    assert progress.job_seconds(root, cores=2) == [6.0]
    assert progress.job_seconds(root, cores=1) == [3.0]


@pytest.mark.parametrize(("seeds", "cores", "threads"), [(1, 1, 1), (1, 2, 2), (1, 16, 2), (2, 2, 1), (2, 4, 2)])
def test_base_runs_share_the_cores(seeds, cores, threads):
    assert progress.base_threads(Grid(GRID | {"seeds": list(range(seeds))}), cores) == threads


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"status": "complete", "timing": {}}', "\0", "[" * 9999]
)
def test_a_damaged_result_is_no_measure_and_does_not_stop_the_report(grid, content):
    prepare(grid, 1000, 10.0)
    progress.start(grid, cores=1)
    base, soft = list(grid.runs)[:2]
    Path(base).mkdir(parents=True)
    Path(base, "metrics.json").write_text(content)
    finish(grid, soft, seconds=10)
    assert progress.report(grid.results_dir, base) == (
        "rotten_tomatoes base not done: 2 of 9 runs done, 0 running, about 2 min left"  # 240,000 tokens, 0.5 ms each
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"schema": 2}', '{"schema": 1, "examples": 3}'])
def test_a_damaged_data_set_counts_as_one_that_is_not_there(grid, content):
    folder = Path(grid.results_dir, "rotten_tomatoes", "data")
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(content)
    assert sizes.task_sizes(grid) == {"rotten_tomatoes": sizes.Size(5000, 27, False, 853)}


def test_progress_without_a_workflow_says_so(tmp_path):
    with pytest.raises(LTPError, match="the workflow writes it when it starts"):
        progress.report(tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (360, "6 min"), (7100, "118 min"), (9000, "2.5 h")])
def test_durations_are_short(seconds, text):
    assert progress.duration(seconds) == text


def test_budget_runs_are_counted_as_such(tmp_path):
    soft = GRID["soft"] | {"flops_targets": [0.7, 0.5, 0.3]}
    text = plan.render_plan(Grid(GRID | {"results_dir": str(tmp_path), "soft": soft}), tokens_per_second=1000.0)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["budget"][0] == "4" and rows["soft"][0] == "2"
    assert "budget 3, ltp 4, topk 2" in text

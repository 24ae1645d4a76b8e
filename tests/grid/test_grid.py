"""The grid: the runs, folders and flags that it stands for."""

import argparse
import importlib
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from helpers.grids import SHORT, SMALL, changed, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.cli.flags import read_settings
from ltp.grid.grid import Grid, flags, load_grid
from ltp.grid.reader import tag
from ltp.settings.data import DataSettings
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_the_grids_in_config_are_valid(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Where glue.yaml and tokens.yaml ask their users to put the files.
    for name in ("glue/sst2", "glue/mrpc", "glue/cola", "glue/stsb", "text/conll2003", "text/squad_sentences"):
        (tmp_path / name).mkdir(parents=True)
    assert load_grid(path).runs


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0e-5, "1e-05"), (0.00001, "1e-05"), (0.1 + 0.2, "0.3"), (2, "2"), (2.0, "2"), (-0.2, "-0.2"), (0.001, "0.001")],
)
def test_a_number_has_one_tag_however_it_is_written(value, text):
    assert tag(value) == text


def test_the_shortest_grid_is_a_whole_study():
    grid = Grid(SHORT)
    assert {(run.method, run.stage) for run in grid.runs.values()} == {
        ("dense", "base"), ("ltp", "soft"), ("ltp", "hard"), ("topk", "hard"), ("manual", "hard"),
    }  # fmt: skip


def test_runs_lie_where_the_layout_says_and_parents_come_first():
    grid = Grid(SMALL)
    assert len(grid.runs) == 2 * 2 * (1 + 2 + 4 + 4)
    seen = {f"results/{task}/data/task.json" for task in grid.config.tasks}
    todo = list(grid.conversions.values())
    for run in grid.runs.values():
        for conversion in [item for item in todo if item.parent in seen]:
            seen.add(conversion.output)
        assert run.parent in seen
        seen.add(run.output)
    home = "results/imdb/seed~1"
    assert grid.runs[f"{home}/ltp/temperature~0.002/lambda~0.1/hard/lr~1e-05"].parent == (
        f"{home}/ltp/temperature~0.002/lambda~0.1/soft/metrics.json"
    )
    assert grid.runs[f"{home}/topk/keep_rate~-0.2/hard/lr~2e-05"].checkpoint == (
        f"{home}/topk/keep_rate~-0.2/converted"
    )
    assert grid.conversions[f"{home}/ltp/converted"].checkpoint == f"{home}/dense/base"
    assert grid.runs[f"{home}/dense/base"].checkpoint == "all-MiniLM-L6-v2"


def test_a_task_overrides_single_keys_and_a_stage_goes_before_training():
    grid = Grid(changed(SMALL, ("tasks", "imdb"), {"training": {"batch_size": 8}, "data": {"train_examples": 99}}))
    tasks = grid.config.tasks
    assert tasks["imdb"]["soft"]["batch_size"] == 8 and tasks["rotten_tomatoes"]["soft"]["batch_size"] == 32
    assert tasks["imdb"]["data"].max_length == 64 and tasks["imdb"]["data"].train_examples == 99
    assert (tasks["imdb"]["hard"]["epochs"], tasks["rotten_tomatoes"]["hard"]["epochs"]) == (1, 2)
    assert Grid(changed(SMALL, ("soft", "batch_size"), 4)).config.tasks["imdb"]["soft"]["batch_size"] == 4


@pytest.mark.parametrize("task", ["rotten_tomatoes", "imdb"])
def test_baselines_train_as_long_as_soft_and_hard_and_with_the_settings_of_hard(task):
    grid = Grid(changed(SMALL, ("training", "distillation"), 0.5))
    chosen = [run for run in grid.runs.values() if (run.task, run.seed) == (task, 0)]
    hard = next(run for run in chosen if run.method == "ltp" and run.stage == "hard")
    topk = next(run for run in chosen if run.method == "topk")
    soft = next(run for run in chosen if run.stage == "soft")
    assert topk.settings == hard.settings | {"epochs": soft.settings["epochs"] + hard.settings["epochs"]}
    assert topk.teacher == hard.teacher == soft.teacher == f"results/{task}/seed~0/dense/base"
    rates = {run.settings["learning_rate"] for run in chosen if run.method == "topk"}
    assert rates == {1e-5, 2e-5}


def test_the_base_stage_has_no_teacher():
    base = Grid(changed(SMALL, ("training", "distillation"), 0.5)).runs["results/imdb/seed~0/dense/base"]
    assert base.teacher is None and "distillation" not in base.settings


def test_numbers_written_as_text_are_the_numbers_that_their_writer_meant():
    config = yaml.safe_load(
        "{tasks: {imdb: }, soft: {learning_rate: 1e-5, lambdas: [1e-1], epochs: '2'}, training: {batch_size: 1e1}}"
    )
    assert config["soft"]["learning_rate"] == "1e-5"  # what YAML makes of it
    soft = Grid(config).config.tasks["imdb"]["soft"]
    assert (soft["learning_rate"], soft["lambdas"], soft["epochs"], soft["batch_size"]) == (1e-5, [0.1], 2, 10)


def test_text_that_looks_like_a_number_stays_text_where_text_is_due():
    task = {"source": "hub", "path": "a/b", "revision": "12e4", "text_columns": ["t"], "labels": ["1e1", "0"]}
    data = Grid({"tasks": {"own": task}}).config.tasks["own"]["data"]
    assert (data.revision, data.labels) == ("12e4", ("1e1", "0"))


def test_flags_are_those_of_the_settings():
    grid = Grid(changed(SMALL, ("training", "tensorboard"), True))
    given = shlex.split(grid.training_flags("results/imdb/seed~1/ltp/temperature~0.001/lambda~0.1/soft"))
    for flag in ("--stage=soft", "--method=ltp", "--temperature=0.001", "--lambda=0.1", "--seed=1", "--tensorboard"):
        assert flag in given
    names = {"--" + field.name.rstrip("_").replace("_", "-") for field in fields(TrainingSettings)}
    assert {flag.partition("=")[0] for flag in given} <= names | {"--stage", "--method", "--checkpoint", "--teacher"}
    assert shlex.split(grid.conversion_flags("results/imdb/seed~0/topk/keep_rate~-0.2/converted"))[1:] == [
        "--prune-mode=topk", "--token-keep-rate=-0.2",
    ]  # fmt: skip
    assert "--model=all-MiniLM-L6-v2" in shlex.split(grid.data_flags("imdb"))


def test_lengths_of_test_texts_are_flags_only_where_they_are_given():
    grid = load_grid(ROOT / "config/length.yaml")
    short, long = (shlex.split(grid.data_flags(task)) for task in ("BBC-short-to-long", "BBC-long-to-short"))
    assert "--subset=bbc_news" in short and short[short.index("--test-max-lengths") + 1 :][:3] == ["128", "192", "256"]
    assert "--max-length=48" in short and "--max-length=256" in long
    default = load_grid(ROOT / "config/grid.yaml")
    assert not any(
        "lengths" in default.data_flags(task) or "subset" in default.data_flags(task) for task in default.config.tasks
    )


@pytest.mark.parametrize("grid", ["grid", "paper", "length"])
def test_the_command_line_takes_the_flags_and_reads_the_same_settings(grid):
    grid = load_grid(ROOT / f"config/{grid}.yaml")

    def parsed(command, line):
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(f"ltp.cli.{command}").add_arguments(parser)
        return parser.parse_args(
            [*shlex.split(line), "--output=there", *(["--data=here"] if command == "train" else [])]
        )

    for directory, run in grid.runs.items():
        line = f"{grid.training_flags(directory)} {grid.device_flags(directory)}"
        assert read_settings(parsed("train", line), TrainingSettings) == TrainingSettings(**run.settings)
    for directory, conversion in grid.conversions.items():
        read = read_settings(parsed("convert", grid.conversion_flags(directory)), PruningSettings)
        assert read == PruningSettings(**conversion.settings)
    for task, sections in grid.config.tasks.items():
        assert read_settings(parsed("data", grid.data_flags(task)), DataSettings) == sections["data"]


@given(
    st.dictionaries(
        st.sampled_from(["path", "revision", "label_column"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    ),
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0")), min_size=1),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_flags_reach_the_program_as_they_are_whatever_they_hold(values, labels):
    made = shlex.split(flags(values | {"labels": labels}))
    assert made == [f"--{key.replace('_', '-')}={value}" for key, value in values.items()] + ["--labels", *labels]


def test_no_shell_runs_what_a_value_holds(tmp_path):
    hostile = {"path": f"$(touch {tmp_path}/a) `touch {tmp_path}/b`; touch {tmp_path}/c '\"\n", "labels": ["&", "| x"]}
    program = f"{shlex.quote(sys.executable)} -c 'import sys; print(sys.argv[1:])'"
    output = subprocess.run(["bash", "-c", f"{program} {flags(hostile)}"], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == repr([f"--path={hostile['path']}", "--labels", "&", "| x"])
    assert not list(tmp_path.iterdir())


def test_the_grid_needs_no_torch():
    heavy = "{'torch', 'transformers', 'datasets'}"
    code = f"import sys; from ltp.grid import grid, plan, progress; sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_default_precision_leaves_the_params_of_finished_runs_as_they_were():
    """Of studies made when the default was fp32: the flags that Snakemake compares still say so."""
    grid = Grid(SHORT)
    for directory in grid.runs:
        assert "--precision=fp32" in grid.training_flags(directory)
        assert grid.device_flags(directory) == "--processes=1 --gpus=0 --precision=auto"
    for precision in ("fp32", "bf16"):
        named = Grid(SHORT | {"training": {"precision": precision}})
        for directory in named.runs:
            assert f"--precision={precision}" in named.training_flags(directory)
            assert named.device_flags(directory) == "--processes=1 --gpus=0"


def test_embeddings_are_frozen_after_the_base_stage_for_every_method():
    grid = Grid(SHORT | {"training": {"freeze_embeddings": True}})
    for directory, run in grid.runs.items():
        assert ("--freeze-embeddings" in grid.training_flags(directory)) == (run.stage != "base")
    assert refusal(SHORT | {"base": {"freeze_embeddings": True}}) == (
        "base.freeze_embeddings: the base stage trains all weights; put it under training or soft"
    )


def test_the_control_is_the_dense_model_trained_as_long():
    grid = Grid(changed(SMALL, ("baselines", "dense"), {}))
    home = "results/imdb/seed~0"
    runs = [run for run in grid.runs.values() if (run.task, run.seed, run.method) == ("imdb", 0, "dense+")]
    assert [run.directory for run in runs] == [f"{home}/dense+/hard/lr~{rate}" for rate in ("1e-05", "2e-05")]
    topk = grid.runs[f"{home}/topk/keep_rate~0.5/hard/lr~1e-05"]
    assert runs[0].settings == topk.settings and runs[0].stage == "hard"
    conversion = grid.conversions[f"{home}/dense+/converted"]
    assert (conversion.settings, conversion.checkpoint) == ({"prune_mode": "none"}, f"{home}/dense/base")
    assert runs[0].parent == conversion.output
    budget = changed(SMALL, ("baselines", "dense"), {}) | {"soft": SMALL["soft"] | BUDGET}
    runs = Grid(budget).runs
    control = runs[f"{home}/dense+/hard/lr~1e-05"].settings["epochs"]
    assert control == runs[f"{home}/budget/soft"].settings["epochs"] > topk.settings["epochs"]  # the longest
    assert not any("dense+" in directory for directory in Grid(SMALL).runs)
    assert Grid(changed(SMALL, ("baselines", "dense"), None)).runs.keys() == Grid(SMALL).runs.keys()


BUDGET = {"flops_targets": [0.7, 0.5]}


def test_flops_targets_in_the_place_of_lambdas():
    """Given alone they are the only learned runs; beside lambdas, whose runs stay what they are, a method more."""
    alone = Grid(changed(SHORT, ("soft",), BUDGET))
    methods = {(run.method, run.stage) for run in alone.runs.values()}
    assert ("ltp", "soft") not in methods and {("budget", "soft"), ("budget", "hard")} <= methods
    assert not [name for name in alone.conversions if "/ltp/" in name]
    assert Grid(changed(SHORT, ("soft", "flops_targets"), None)).runs == Grid(SHORT).runs
    both, plain = Grid(changed(SMALL, ("soft",), SMALL["soft"] | BUDGET)), Grid(SMALL)
    assert {name: run for name, run in both.runs.items() if run.method != "budget"} == plain.runs
    assert {name: item for name, item in both.conversions.items() if item.method != "budget"} == plain.conversions


def test_one_training_serves_all_flops_targets():
    grid = Grid(changed(SMALL, ("soft",), SMALL["soft"] | BUDGET))
    home = "results/imdb/seed~1/budget"
    soft, hard = grid.runs[f"{home}/soft"], grid.runs[f"{home}/target~0.5/hard"]
    assert soft.checkpoint == f"{home}/converted" and hard.parent == f"{home}/soft/metrics.json"
    assert (soft.settings["least_flops_target"], soft.settings["flops_target"]) == (0.5, 0.7)
    assert (hard.settings["flops_target"], hard.settings["epochs"]) == (0.5, 0.0)
    assert "least_flops_target" not in hard.settings and hard.teacher is None
    learned = plain = grid.config.tasks["imdb"]
    assert soft.settings["epochs"] == 2 * (learned["soft"]["epochs"] + plain["hard"]["epochs"])
    assert not {"temperature", "lambda_", "threshold_learning_rate"} & soft.settings.keys()
    assert grid.conversion_flags(f"{home}/converted").endswith(" --scoring-mode=saliency")
    assert "--least-flops-target=0.5" in grid.training_flags(f"{home}/soft")
    assert (soft.name, hard.name) == ("imdb budget soft seed~1", "imdb budget hard seed~1 target~0.5")
    assert len([run for run in grid.runs.values() if run.method == "budget"]) == 2 * 2 * (1 + 2)
    one = Grid(changed(SHORT, ("soft",), {"flops_targets": [0.5]}))
    assert "least_flops_target" not in one.runs["results/rotten_tomatoes/seed~0/budget/soft"].settings


def test_topk_may_be_trained_for_the_same_budgets():
    both = changed(SMALL, ("soft",), SMALL["soft"] | BUDGET)
    grid = Grid(changed(both, ("baselines", "topk", "flops_targets"), [0.7, 0.5]))
    home = "results/imdb/seed~1/topk_budget"
    soft, hard = grid.runs[f"{home}/soft"], grid.runs[f"{home}/target~0.5/hard"]
    assert (soft.method, hard.method) == ("topk_budget", "topk_budget") and hard.settings["epochs"] == 0.0
    assert grid.conversions[f"{home}/converted"].settings == {"prune_mode": "topk", "scoring_mode": "saliency"}
    assert grid.conversions["results/imdb/seed~1/budget/converted"].settings["scoring_mode"] == "saliency"
    assert soft.settings == grid.runs["results/imdb/seed~1/budget/soft"].settings


def test_budget_runs_have_settings_of_their_own_where_they_are_given():
    own = {"budget_learning_rate": 5e-5, "budget_epochs": 3.0, "scoring_mode": "contribution"}
    soft = {"learning_rate": 1e-5, "epochs": 0.5, "lambdas": [0.1]} | BUDGET
    grid = Grid(changed(SHORT, ("soft",), soft | own))
    found = {
        run.method: (run.settings["learning_rate"], run.settings["epochs"])
        for run in grid.runs.values()
        if run.stage == "soft"
    }
    assert found == {"ltp": (1e-5, 0.5), "budget": (5e-5, 3.0)}
    assert "--scoring-mode=contribution" in grid.conversion_flags("results/rotten_tomatoes/seed~0/budget/converted")
    unset = Grid(changed(SHORT, ("soft",), soft)).runs["results/rotten_tomatoes/seed~0/budget/soft"].settings
    assert unset["learning_rate"] == 1e-5  # that of the soft stage


def test_a_budget_may_be_trained_for_no_epochs():
    grid = Grid({"tasks": {"imdb": {}}, "soft": {"flops_targets": [0.7, 0.5], "budget_epochs": 0}})
    assert grid.runs["results/imdb/seed~0/budget/soft"].settings["epochs"] == 0


def test_topk_takes_any_score():
    grid = Grid(changed(SMALL, ("baselines", "topk", "scoring_mode"), "contribution"))
    name = "results/imdb/seed~0/topk/keep_rate~-0.2/converted"
    assert grid.conversions[name].settings["scoring_mode"] == "contribution"
    assert "scoring" not in Grid(SMALL).conversion_flags(name)

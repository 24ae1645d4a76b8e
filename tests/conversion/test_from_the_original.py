"""docs/from-the-original.md, row by row: what it names is there, and does what it says."""

import argparse
import importlib
import json
import re
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file

from ltp.cli import COMMANDS
from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.grid.grid import Grid
from ltp.grid.schema import GRID_SCHEMA
from ltp.models.pruning import topk_keep_rates
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/from-the-original.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| original")
]
CODE = re.compile(r"`([^`]+)`")
# Everything that the original's README and run.py offer.
SURFACE = (
    "--arch ltp-base", "--arch ltp-large", "--task", "--restore", "--lr", "--temperature", "--lambda", "--weight_decay",
    "--bs", "--masking_mode soft", "--masking_mode hard", "--epoch", "--save_step", "--no_load", "--lr_threshold",
    "--seed", "--eval", "prune_mode", "final_token_threshold", "scoring_mode", "token_keep_rate", "architectures",
    "model_type", "checkpoints/base/TASK/absolute_threshold/rate_X/temperature_T/lambda_L/lr_LR",
    "CKPT_soft/hard/lr_LR", "CKPT/topk/lr_LR", "CKPT/hard/lr_LR",
)  # fmt: skip


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"ltp.cli.{command}").add_arguments(parser)
    return parser


def schema_of(key: str) -> dict:
    """The schema's entry for a key of the grid, by its path."""
    entry = GRID_SCHEMA
    for part in key.split("."):
        entry = entry["properties"][part]
    return entry


def test_the_table_has_all_of_the_originals_surface():
    listed = [name for row in ROWS for name in CODE.findall(row[0])]
    assert set(SURFACE) <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_key_and_flag_of_a_row_is_there(row):
    _, keys, calls, difference = row
    assert difference
    for key in CODE.findall(keys):
        assert schema_of(key)["description"]
    for call in CODE.findall(calls):
        program, command, *flags = call.split()
        assert program == "ltp"
        options = parser_of(command)._option_string_actions
        assert set(flags) <= set(options)
    for call in re.findall(r"`ltp ([a-z]+)[^`]*`", difference):
        assert call in COMMANDS


def test_the_files_that_it_names_are_there():
    named = re.findall(r"`(config/[\w.-]+)`", TEXT)
    assert named and all((ROOT / name).is_file() for name in named)


# ------------------------------------------------------------------------------------------- what the rows say is so


@pytest.mark.parametrize(("name", "config"), [("roberta-base", "paper"), ("roberta-large", "paper-large")])
def test_arch(name, config):
    grid = Grid(yaml.safe_load((ROOT / f"config/{config}.yaml").read_text()))
    assert grid.config.model["name"] == name and len(grid.config.model["revision"]) == 40


def test_task(tmp_path):
    glue = ("rte", "mrpc", "stsb", "sst2", "qnli", "qqp", "mnli", "cola")
    own = {"reviews": {"source": "local", "path": str(tmp_path), "text_columns": ["body"]}}
    grid = Grid({"tasks": {**{name: {} for name in glue}, "imdb": {}, "rotten_tomatoes": {}, **own}})
    assert set(grid.config.tasks) == {*glue, "imdb", "rotten_tomatoes", "reviews"}
    assert "--text-columns body" in grid.data_flags("reviews")


def sweep(**sections) -> Grid:
    return Grid({"tasks": {"imdb": {}}, **sections})


@pytest.mark.parametrize(
    ("sections", "stage", "expected"),
    [
        ({"base": {"learning_rate": 3e-5}}, "base", {"learning_rate": 3e-5}),
        ({"soft": {"learning_rate": 3e-5}}, "soft", {"learning_rate": 3e-5}),
        ({"hard": {"learning_rates": [5e-6]}}, "hard", {"learning_rate": 5e-6}),
        ({"soft": {"temperatures": [5e-4]}}, "soft", {"temperature": 5e-4}),
        ({"soft": {"lambdas": [0.15]}}, "soft", {"lambda_": 0.15}),
        ({"training": {"weight_decay": 0.1}}, "hard", {"weight_decay": 0.1}),
        ({"training": {"batch_size": 2}}, "soft", {"batch_size": 2}),
        ({}, "soft", {"batch_size": 64}),
        ({"soft": {"epochs": 10}}, "soft", {"epochs": 10}),
        ({"soft": {"epochs": 10}, "hard": {"epochs": 5}}, "topk", {"epochs": 15}),
        ({"baselines": {"epochs": 4}}, "manual", {"epochs": 4}),
        ({"training": {"checkpoint_minutes": 1.5}}, "base", {"checkpoint_minutes": 1.5}),
        ({"soft": {"threshold_learning_rate": 1e-3}}, "soft", {"threshold_learning_rate": 1e-3}),
        ({"seeds": [7]}, "hard", {"seed": 7}),
    ],
)
def test_a_setting_of_the_grid_reaches_its_runs(sections, stage, expected):
    runs = [run for run in sweep(**sections).runs.values() if stage in (run.stage, run.method)]
    assert runs
    for run in runs:
        if run.method in ("dense", "ltp", stage):  # baselines, which are hard runs too, have epochs of their own
            assert expected.items() <= dict(run.settings).items()


def test_restore():
    """Each stage starts from the run before it, by itself."""
    runs = sweep(soft={"temperatures": [0.001], "lambdas": [0.1]}).runs
    home = "results/imdb/seed~0"
    assert runs[f"{home}/ltp/temperature~0.001/lambda~0.1/soft"].checkpoint == f"{home}/ltp/converted"
    hard = runs[f"{home}/ltp/temperature~0.001/lambda~0.1/hard/lr~2e-05"]
    assert hard.checkpoint == f"{home}/ltp/temperature~0.001/lambda~0.1/soft"


def test_the_tree_that_replaces_the_originals():
    grid = sweep(
        soft={"temperatures": [0.002], "lambdas": [0.1]}, hard={"learning_rates": [1e-5]},
        baselines={"topk": {"keep_rates": [-0.2]}, "manual": {"final_token_thresholds": [0.01]}}, seeds=[3],
    )  # fmt: skip
    named = {"TASK": "imdb", "~S": "~3", "~T": "~0.002", "~LR": "~1e-05", "~L": "~0.1", "~K": "~-0.2", "~V": "~0.01"}
    documented = set()
    for row in ROWS:
        for path in re.findall(r"`(results/[^`]+)`", row[3]):
            for letter, value in named.items():
                path = path.replace(letter, value)
            documented.add(path)
    assert documented == set(grid.runs) - {"results/imdb/seed~3/dense/base"}


@pytest.mark.parametrize("rate", [-0.2, 0.0, 0.2])
def test_token_keep_rate(rate):
    """Negative rates floor at 0; the first three layers keep all; the last has the rate itself."""
    rates = topk_keep_rates(12, rate)
    assert rates[:3] == [1.0] * 3 and rates[-1] == pytest.approx(max(0.0, rate))
    assert rates == sorted(rates, reverse=True) and min(rates) >= 0.0
    conversions = sweep(baselines={"topk": {"keep_rates": [rate]}}).conversions.values()
    (conversion,) = (conversion for conversion in conversions if conversion.method == "topk")
    assert conversion.settings["token_keep_rate"] == rate


def test_scoring_mode():
    assert PruningSettings().scoring_mode == "mean" and PruningSettings().score_length == 128
    with pytest.raises(LTPError, match="scoring_mode: 'mean_norm' is not one of mean"):
        PruningSettings(scoring_mode="mean_norm")


class TestTrained:
    """Rows that say something of a training, on a tiny one."""

    @pytest.fixture(scope="class")
    @staticmethod
    def soft(tiny_study):
        flags = ["--temperature=0.02", "--lambda=0.1", "--learning-rate=0.001", "--batch-size=8", "--epochs=2"]
        folder = tiny_study.base.parent / "from-the-original"
        where = [f"--checkpoint={tiny_study.converted}", f"--data={tiny_study.data}", f"--output={folder}"]
        assert main(["train", "--stage=soft", "--method=ltp", *where, *flags]) == 0
        return folder

    def test_lambda_left_out_is_told_before_training(self, tiny_study, tmp_path, capsys):
        where = [f"--checkpoint={tiny_study.converted}", f"--data={tiny_study.data}", f"--output={tmp_path}/run"]
        assert main(["train", "--stage=soft", "--method=ltp", "--temperature=0.02", *where]) == 1
        assert (
            capsys.readouterr().err.splitlines()[-1]
            == "ltp train: stage soft: needs --temperature and --lambda, or --flops-target"
        )

    def test_no_load(self, soft, tiny_study):
        """The weights are those after the last step, whatever the scores on the way: no other is ever looked at."""
        from ltp.training.trainer import training_arguments

        arguments = training_arguments(TrainingSettings(), soft / "none", 0)
        assert arguments.load_best_model_at_end is False and str(arguments.eval_strategy.value) == "no"
        before, after = (load_file(path / "model.safetensors") for path in (tiny_study.converted, soft))
        assert any((before[name] != after[name]).any() for name in before)

    def test_config_json(self, soft):
        config = json.loads((soft / "config.json").read_text())
        assert config["architectures"] == ["LTPForSequenceClassification"]
        assert (config["model_type"], config["base_model_type"]) == ("ltp", "bert")
        assert config["prune_mode"] == "absolute_threshold" and config["final_token_threshold"] == 0.06

    def test_what_shaped_a_run_stands_in_its_metrics(self, soft):
        settings = json.loads((soft / "metrics.json").read_text())["settings"]
        assert (settings["temperature"], settings["lambda"], settings["learning_rate"]) == (0.02, 0.1, 0.001)
        assert settings["masking"] == "soft" and not (soft / "checkpoint").exists()

    @pytest.mark.parametrize("what", ["soft", "base"])
    def test_eval(self, soft, tiny_study, what, capsys):
        folder = soft if what == "soft" else tiny_study.base
        assert main(["evaluate", str(folder), "--data", str(tiny_study.data)]) == 0
        found = json.loads(capsys.readouterr().out)
        written = json.loads((folder / "metrics.json").read_text())
        for split, scores in written["metrics"].items():  # a soft run is only judged by the split that picks
            assert found["metrics"][split] == pytest.approx(scores)
            assert found["flops"][split] == pytest.approx(written["flops"][split])
        assert set(found["metrics"]) == {"validation", "test"} and len(found["layers"]["ffn_tokens"]) == 2

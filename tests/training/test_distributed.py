"""One training shared by two processes: what comes out is what one process makes of the same batches."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_text import write_sentences
from safetensors.numpy import load_file

from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.grid.grid import Grid
from ltp.results.run import read_metrics, read_predictions
from ltp.settings.pruning import THRESHOLDS
from ltp.training import distributed as processes
from ltp.training.precision import has_bf16

SOFT = [
    "--temperature=0.02", "--lambda=0.1", "--threshold-learning-rate=0.001", "--distillation=0.5",
    "--checkpoint-minutes=0.00001", "--batch-size=16", "--learning-rate=0.0001", "--dropout=0",
    "--accumulation-steps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tiny_encoder, tmp_path_factory):
    """A dense run, its conversion, and data whose splits two processes cannot share evenly."""
    root = tmp_path_factory.mktemp("study")
    (root / "text").mkdir()
    write_sentences(root / "text/train.tsv", 64, first=0)
    write_sentences(root / "text/dev.tsv", 66, first=64)
    data = ["--task=sst2", "--source=local", f"--path={root}/text", f"--model={tiny_encoder}", "--max-length=24"]
    assert main(["data", f"--output={root}/data", *data]) == 0
    base = ["--stage=base", "--method=dense", f"--checkpoint={tiny_encoder}", "--teach", "--batch-size=16"]
    base += ["--learning-rate=0.01"]
    assert main(["train", f"--data={root}/data", f"--output={root}/base", *base]) == 0
    pruning = ["--final-token-threshold=0.06", "--score-length=16"]  # scores are about 1/16 here
    assert main(["convert", f"--checkpoint={root}/base", f"--output={root}/converted", *pruning]) == 0
    return root


def flags(study, output):
    where = [f"--checkpoint={study}/converted", f"--data={study}/data", f"--teacher={study}/base"]
    return ["train", "--stage=soft", "--method=ltp", f"--output={study}/{output}", *where, *SOFT, "--precision=fp32"]


def test_two_processes_do_what_one_does(study):
    assert main(flags(study, "alone")) == 0
    command = [sys.executable, "-m", "ltp", *flags(study, "shared"), "--processes=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("validation accuracy") == 1  # one of them speaks
    alone, shared = read_metrics(study / "alone"), read_metrics(study / "shared")
    assert (alone["environment"]["processes"], shared["environment"]["processes"]) == (1, 2)
    assert alone["settings"] == shared["settings"]
    assert shared["metrics"]["validation"] == pytest.approx(alone["metrics"]["validation"], rel=1e-4)
    assert shared["flops"]["validation"] == pytest.approx(alone["flops"]["validation"], rel=1e-6)
    assert shared["layers"]["attention_tokens"] == alone["layers"]["attention_tokens"]
    assert read_predictions(study / "shared") == read_predictions(study / "alone")  # 33, in order, none twice
    assert shared["timing"]["train_tokens"] == alone["timing"]["train_tokens"]
    weights = [load_file(study / name / "model.safetensors") for name in ("alone", "shared")]
    start = load_file(study / "converted/model.safetensors")
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=3e-5)
    assert np.abs(weights[0][THRESHOLDS] - start[THRESHOLDS]).min() > 1e-4  # it did learn
    assert not (study / "shared/checkpoint").exists()


def test_two_processes_agree_on_the_precision_of_their_machine(study):
    command = [sys.executable, "-m", "ltp", *flags(study, "auto"), "--processes=2", "--precision=auto", "--epochs=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_metrics(study / "auto")["settings"]["precision"] == ("bf16" if has_bf16() else "fp32")


def test_a_batch_that_cannot_be_shared_is_refused_before_training(study, monkeypatch, capsys):
    monkeypatch.setattr(processes, "count", lambda: 3)
    monkeypatch.setattr(processes, "join", lambda: None)
    monkeypatch.setattr(processes, "wait", lambda: None)
    assert main([flag for flag in flags(study, "refused") if "distillation" not in flag]) == 1
    message = "batch_size: 16 sentences cannot be divided among 3 processes with 2 accumulation steps; choose a "
    assert message in capsys.readouterr().err


def test_no_process_is_too_few(study, capsys):
    assert main([*flags(study, "none"), "--processes=0"]) == 1
    assert "processes: 0 is too small" in capsys.readouterr().err


def test_the_threads_allowed_are_shared(tmp_path, monkeypatch):
    seen = {}

    def run(command, env):
        seen.update(command=command, threads=env["OMP_NUM_THREADS"])
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert processes.launch(2, ["train", "--stage=soft"]) == 3
    assert seen["threads"] == "2" and seen["command"][-4:] == ["--module", "ltp", "train", "--stage=soft"]


# ------------------------------------------------------------------------------------------------------- in the grid


@pytest.mark.parametrize(
    ("keys", "expected"), [({}, 1), ({"processes": 2}, 2), ({"gpus": 1}, 1), ({"gpus": 4}, 4), ({"gpus": 0}, 1)]
)
def test_a_training_has_a_process_for_each_of_its_gpus(keys, expected):
    assert Grid({"tasks": {"imdb": {}}, **keys}).config.processes == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"gpus": 2, "processes": 3}, "processes: 3 with gpus: 2; expected one for each GPU; leave processes out"),
        (
            {"processes": 4, "training": {"batch_size": 30, "accumulation_steps": 3}},
            "training.batch_size: 30 cannot be divided among 4 processes with 3 accumulation steps; expected a "
            "multiple of 12",
        ),
        ({"processes": 0}, "processes: 0 is too small"),
    ],
)
def test_a_grid_that_cannot_be_shared_out_is_one_line(keys, message):
    with pytest.raises(LTPError) as caught:
        Grid({"tasks": {"imdb": {}}, **keys})
    assert str(caught.value).startswith(message)


def test_the_workflow_hands_processes_and_gpus_to_every_training(tmp_path):
    grid = ["--configfile", "config/smoke.yaml", "--config", f"results_dir={tmp_path}/none", "gpus=2"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--nolock", *grid],
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    trainings = done.stdout.count("python -m ltp train ")
    assert trainings == 1 + 2 + 2 + 2 + 2
    assert done.stdout.count("--processes=2 --gpus=2 --precision=auto >") == trainings

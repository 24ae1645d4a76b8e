"""Stages that are cut off, diverge or are given what does not fit: what is left, and what is said."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from helpers.stage_runs import BASE, HARD, SOFT, interrupt, refusal, told
from safetensors.torch import load_file, save_file

from ltp.common.errors import LTPError
from ltp.common.io import canonical_sha256
from ltp.conversion.convert import convert
from ltp.results.run import CHECKPOINT, read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import PruningSettings
from ltp.training.evaluation import evaluate_checkpoint
from ltp.training.resuming import last_checkpoint, seconds_trained
from ltp.training.stage import Stage
from ltp.training.stages import train
from ltp.training.trainer import LTPTrainer

pytestmark = pytest.mark.usefixtures("one_thread")
SAVING = replace(SOFT, checkpoint_minutes=1e-9)  # the same run, with a checkpoint after each step
DIE_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
from ltp.settings.training import TrainingSettings
from ltp.training import stages, trainer

class Dies(trainer.CheckpointByTime):
    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 5:  # the checkpoint's files are there, its mark is not
            os.kill(os.getpid(), signal.SIGKILL)
        super().on_save(args, state, control, **kwargs)

trainer.CheckpointByTime = Dies
stages.train(stages.Stage("soft", "ltp", sys.argv[1], *map(Path, sys.argv[2:]), TrainingSettings(**{settings})))
"""


def test_an_interrupted_run_goes_on_and_ends_the_same(tiny_study, soft, tmp_path, monkeypatch):
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", SAVING)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train(Stage(*arguments))
    run = tmp_path / "run"
    assert not (run / "metrics.json").exists() and (run / CHECKPOINT / "checkpoint-7" / "complete").exists()
    with monkeypatch.context() as patch:
        interrupt(patch, step=5)  # twelve steps less seven: a run from the start would not come through
        assert train(Stage(*arguments))["timing"]["resumed"]
    assert told(run) == told(soft) and not (run / CHECKPOINT).exists()


def test_the_seconds_of_all_legs_count(tiny_study, tmp_path, monkeypatch):
    """Of the first leg, those until its last checkpoint: what came after was lost, and is done again."""
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", SAVING)
    whole = LTPTrainer.training_step

    def slow(self, *given, **options):
        time.sleep(0.3)
        return whole(self, *given, **options)

    for last in (4, 3):  # two legs are cut off, by checkpoints of steps 4 and 7
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(LTPTrainer, "training_step", slow)
            interrupt(patch, step=last)
            train(Stage(*arguments))
    checkpoint = last_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert checkpoint.name == "checkpoint-7" and seconds_trained(checkpoint) > 7 * 0.3
    timing = train(Stage(*arguments))["timing"]
    assert timing["train_seconds"] > 7 * 0.3
    assert timing["tokens_per_second"] == pytest.approx(timing["train_tokens"] / timing["train_seconds"])
    assert timing["total_seconds"] > timing["train_seconds"]


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(tiny_study, soft, tmp_path):
    run = tmp_path / "run"
    script = DIE_WHILE_SAVING.format(settings=vars(SAVING))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_study.converted), str(tiny_study.data), str(run)],
        env=environment, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    checkpoints = {path.name: (path / "complete").exists() for path in (run / CHECKPOINT).glob("checkpoint-*")}
    assert checkpoints["checkpoint-5"] is False and checkpoints["checkpoint-4"] is True
    assert not (run / "metrics.json").exists()
    finished = train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, run, SOFT))
    assert finished["timing"]["resumed"] and told(run) == told(soft)


@pytest.mark.parametrize(
    ("change", "resumed"),
    [({"lambda_": 0.1}, False), ({"checkpoint_minutes": 5.0}, True)],
)
def test_a_checkpoint_of_other_settings_is_not_gone_on_from(tiny_study, tmp_path, monkeypatch, change, resumed):
    paths = (str(tiny_study.converted), tiny_study.data, tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train(Stage("soft", "ltp", *paths, SAVING))
    steps = []
    whole = LTPTrainer.training_step
    monkeypatch.setattr(LTPTrainer, "training_step", lambda self, *a, **k: steps.append(1) or whole(self, *a, **k))
    metrics = train(Stage("soft", "ltp", *paths, replace(SOFT, **change)))
    assert metrics["timing"]["resumed"] is resumed and len(steps) == (5 if resumed else 12)


def test_a_run_goes_on_with_another_number_of_threads(tiny_study, tmp_path, monkeypatch):
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", SAVING)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train(Stage(*arguments))
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    assert train(Stage(*arguments))["timing"]["resumed"]


@pytest.fixture
def broken_encoder(tiny_encoder, tmp_path):
    """A checkpoint with a NaN among its weights."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny_encoder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_run_that_diverges_says_so_and_so_do_its_children(tiny_study, broken_encoder, tmp_path):
    base, converted, soft, hard = (tmp_path / name for name in ("base", "converted", "soft", "hard"))
    found = train(Stage("base", "dense", str(broken_encoder), tiny_study.data, base, BASE))
    assert found["status"] == "diverged" and found["reason"] == "the loss became nan by step 10 of 12"
    convert(base, converted, PruningSettings())
    train(Stage("soft", "ltp", str(converted), tiny_study.data, soft, SOFT))
    train(Stage("hard", "ltp", str(soft), tiny_study.data, hard, HARD))
    for folder in (base, soft, hard):
        metrics = read_metrics(folder)
        assert metrics["status"] == "diverged" and metrics["metrics"] == metrics["flops"] == {}
        assert [path.name for path in folder.iterdir()] == ["metrics.json"] and verify_run(folder) == []
    assert told(soft)["reason"] == f"parent {converted}: parent {base}: the loss became nan by step 10 of 12"
    assert told(hard)["reason"] == f"parent {soft}: {told(soft)['reason']}"
    assert told(hard)["settings"]["temperature"] == 0.01  # it has its place in the tables
    assert [path.name for path in converted.iterdir()] == ["conversion.json"]


def test_outputs_that_are_no_numbers_are_seen_without_a_logged_loss(tiny_study, broken_encoder, tmp_path):
    """Six steps are too few for a logged loss."""
    found = train(Stage("base", "dense", str(broken_encoder), tiny_study.data, tmp_path / "run", HARD))
    assert found["status"] == "diverged"
    assert found["reason"] == "the outputs on the validation split are not finite numbers"


def test_a_run_that_diverges_leaves_no_earlier_model(tiny_study, broken_encoder, tmp_path):
    """Where a run's directory is used again, what a sound run left there must not pass for the broken one's."""
    run = tmp_path / "run"
    train(Stage("base", "dense", str(tiny_study.encoder), tiny_study.data, run, HARD))
    assert (run / "model.safetensors").exists()
    train(Stage("base", "dense", str(broken_encoder), tiny_study.data, run, HARD))
    assert read_metrics(run)["status"] == "diverged"
    assert not [path.name for path in run.iterdir() if not path.name.startswith(("metrics", "tokenizer"))]


@pytest.mark.parametrize("missing", ["temperature", "lambda_"])
def test_a_soft_stage_without_lambda_or_temperature_is_refused(tiny_study, tmp_path, missing):
    settings = replace(SOFT, **{missing: None})
    message = refusal("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", settings)
    assert message == "stage soft: needs --temperature and --lambda, or --flops-target"


def test_what_does_not_fit_is_refused(tiny_study, tmp_path):
    run, data = tmp_path / "run", tiny_study.data
    convert(tiny_study.base, tmp_path / "topk", PruningSettings(prune_mode="topk"))
    message = refusal("soft", "ltp", str(tmp_path / "topk"), data, run, SOFT)
    assert message == f"{tmp_path / 'topk'}: prune_mode 'topk' has no thresholds to learn"
    message = refusal("soft", "ltp", str(tiny_study.base), data, run, SOFT)
    assert message == f"{tiny_study.base}: model_type is 'bert', expected 'ltp'; run `ltp convert` first"
    message = refusal("hard", "manual", str(tiny_study.encoder), data, run, HARD)
    assert "neither conversion.json nor metrics.json is there; expected a finished conversion or run" in message

    shutil.copytree(tiny_study.converted, tmp_path / "damaged")
    weights = bytearray((tmp_path / "damaged/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "damaged/model.safetensors").write_bytes(weights)
    message = refusal("hard", "manual", str(tmp_path / "damaged"), data, run, HARD)
    assert f"{tmp_path / 'damaged/model.safetensors'}: was changed after the run" in message

    shutil.copytree(data, tmp_path / "three")
    info = json.loads((tmp_path / "three/task.json").read_text())
    three = {key: value for key, value in info.items() if key != "seal"} | {"num_labels": 3}
    (tmp_path / "three/task.json").write_text(json.dumps(three | {"seal": canonical_sha256(three)}))
    message = refusal("hard", "manual", str(tiny_study.converted), tmp_path / "three", run, HARD)
    assert message == f"{tiny_study.converted}: has 2 labels, the data have 3"
    with pytest.raises(LTPError, match="has 2 labels, the data have 3"):
        evaluate_checkpoint(tiny_study.base, tmp_path / "three")


def test_a_run_that_starts_again_is_not_taken_for_finished(tiny_study, tmp_path, monkeypatch):
    run = tmp_path / "run"
    arguments = ("base", "dense", str(tiny_study.encoder), tiny_study.data, run, HARD)
    train(Stage(*arguments))
    interrupt(monkeypatch, step=2)
    with pytest.raises(RuntimeError):
        train(Stage(*arguments))
    assert not (run / "metrics.json").exists() and last_checkpoint(run / CHECKPOINT) is None

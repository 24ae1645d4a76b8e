"""A training that is cut off goes on from its last checkpoint that is whole, and ends with the same bytes."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from faults.test_damage import binary, changed, cut, emptied, flipped, gone, listed, zeroed
from ltp.results.run import CHECKPOINT, read_metrics
from ltp.settings.training import TrainingSettings
from ltp.training.stage import Stage
from ltp.training.stages import train
from ltp.training.trainer import LTPTrainer

SETTINGS = TrainingSettings(  # twelve steps, with dropout, so that the generators' states matter
    learning_rate=1e-3, batch_size=8, epochs=2, seed=3, temperature=0.01, lambda_=0.2, lambda_warmup=0.5,
    threshold_learning_rate=2e-3, dropout=0.1,
)  # fmt: skip
SAVING = replace(SETTINGS, checkpoint_minutes=1e-9)
STEPS = 12


class Gone(Exception):
    """The machine went away."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def whole(tiny_study, tmp_path_factory):
    """The metrics of a run that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        folder = tmp_path_factory.mktemp("whole") / "run"
        train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, folder, SETTINGS))
    return told(folder)


def told(folder):
    """metrics.json but for the timings; the sha256 of weights and predictions are in it."""
    return {key: value for key, value in read_metrics(folder).items() if key != "timing"}


def cut_off(monkeypatch, arguments, step):
    """Train, saving after every step, until the machine goes away in the step after ``step``."""
    whole_step, calls = LTPTrainer.training_step, []

    def fails(self, *given, **options):
        calls.append(None)
        if len(calls) > step:
            raise Gone
        return whole_step(self, *given, **options)

    with monkeypatch.context() as patch, pytest.raises(Gone):
        patch.setattr(LTPTrainer, "training_step", fails)
        train(Stage(*arguments, SAVING))


@pytest.mark.parametrize("step", range(1, STEPS))
def test_cut_off_at_any_step_it_ends_the_same(tiny_study, whole, tmp_path, monkeypatch, step):
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run")
    cut_off(monkeypatch, arguments, step)
    steps, whole_step = [], LTPTrainer.training_step
    monkeypatch.setattr(LTPTrainer, "training_step", lambda self, *a, **k: steps.append(1) or whole_step(self, *a, **k))
    assert train(Stage(*arguments, SETTINGS))["timing"]["resumed"] and len(steps) == STEPS - step
    assert told(tmp_path / "run") == whole


class TestAnotherMachine:
    """A training that began in one number format goes on in it, on a machine that has another one or none."""

    @pytest.mark.parametrize("began", ["bf16", "fp32"])
    def test_the_precision_is_that_of_the_beginning(self, tiny_study, tmp_path, monkeypatch, capfd, began):
        def machine(name: str, half: bool):
            monkeypatch.setattr("ltp.training.precision.has_bf16", lambda: half)
            monkeypatch.setattr("ltp.training.environment.processor_name", lambda: name)

        machine("first", began == "bf16")
        arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data)
        train(Stage(*arguments, tmp_path / "whole", SETTINGS))
        cut_off(monkeypatch, (*arguments, tmp_path / "run"), 5)
        machine("second", began != "bf16")
        capfd.readouterr()
        assert train(Stage(*arguments, tmp_path / "run", SETTINGS))["timing"]["resumed"]
        line = "the training began in bf16 and goes on in it, emulated on this machine and slow; to start anew, delete"
        assert (line in capfd.readouterr().err) == (began == "bf16")
        whole, resumed = told(tmp_path / "whole"), told(tmp_path / "run")
        assert resumed["settings"]["precision"] == began and resumed["files"] == whole["files"]

    def test_a_checkpoint_of_other_settings_does_not_decide(self, tiny_study, tmp_path, monkeypatch):
        monkeypatch.setattr("ltp.training.precision.has_bf16", lambda: True)
        arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run")
        cut_off(monkeypatch, arguments, 5)
        monkeypatch.setattr("ltp.training.precision.has_bf16", lambda: False)
        metrics = train(Stage(*arguments, replace(SETTINGS, lambda_=0.3)))
        assert not metrics["timing"]["resumed"] and metrics["settings"]["precision"] == "fp32"


DAMAGE = [
    ("trainer_state.json", cut), ("trainer_state.json", flipped), ("trainer_state.json", emptied),
    ("optimizer.pt", cut), ("optimizer.pt", flipped), ("optimizer.pt", gone), ("optimizer.pt", zeroed),
    ("model.safetensors", cut), ("model.safetensors", flipped), ("model.safetensors", gone),
    ("scheduler.pt", binary), ("rng_state.pth", cut), ("rng_state.pth", gone),
    ("complete", emptied), ("complete", cut), ("complete", listed), ("complete", gone),
]  # fmt: skip


@pytest.mark.parametrize("every", [False, True], ids=["newest", "all"])
@pytest.mark.parametrize(("name", "damage"), DAMAGE, ids=[f"{name}-{how.__name__}" for name, how in DAMAGE])
def test_a_damaged_checkpoint_is_not_gone_on_from(tiny_study, whole, tmp_path, monkeypatch, name, damage, every):
    """The one before it serves; where all are damaged, the training starts from the beginning. The end is the same."""
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run")
    cut_off(monkeypatch, arguments, 7)
    for number in (6, 7) if every else (7,):
        damage(tmp_path / "run" / CHECKPOINT / f"checkpoint-{number}" / name)
    assert train(Stage(*arguments, SETTINGS))["timing"]["resumed"] is not every
    assert told(tmp_path / "run") == whole
    assert not (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.parametrize("damage", [cut, emptied, gone, listed, changed(seed=4), changed(settings__lambda=0.3)])
def test_a_checkpoint_whose_settings_cannot_be_told_is_not_gone_on_from(
    tiny_study, whole, tmp_path, monkeypatch, damage
):
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run")
    cut_off(monkeypatch, arguments, 7)
    damage(tmp_path / "run" / CHECKPOINT / "settings.json")
    assert train(Stage(*arguments, SETTINGS))["timing"]["resumed"] is False
    assert told(tmp_path / "run") == whole


def test_no_checkpoint_is_left_where_nothing_was_cut(tiny_study, tmp_path):
    train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", SAVING))
    assert not (tmp_path / "run" / CHECKPOINT).exists() and not os.path.exists(tmp_path / "run/.lock")

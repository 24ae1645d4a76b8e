"""Settings of short trainings, and what their runs say."""

from __future__ import annotations

import pytest

from ltp.common.errors import LTPError
from ltp.results.run import read_metrics
from ltp.settings.training import TrainingSettings
from ltp.training.stage import Stage
from ltp.training.stages import train
from ltp.training.trainer import LTPTrainer

BASE = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=2)
HARD = TrainingSettings(learning_rate=1e-3, batch_size=8)  # six steps
SOFT = TrainingSettings(  # twelve steps
    learning_rate=1e-3, batch_size=8, epochs=2, seed=3, temperature=0.01, lambda_=0.2, lambda_warmup=0.5,
    threshold_learning_rate=2e-3,
)  # fmt: skip


def told(folder) -> dict:
    """metrics.json without what may differ between identical runs."""
    metrics = read_metrics(folder)
    del metrics["timing"]
    return metrics


def refusal(*arguments, **options) -> str:
    with pytest.raises(LTPError) as caught:
        train(Stage(*arguments, **options))
    assert "\n" not in str(caught.value)
    assert not (arguments[4] / "metrics.json").exists()
    return str(caught.value)


def interrupt(monkeypatch, step: int) -> None:
    """Make trainings fail in the forward pass of the step after ``step``."""
    whole, calls = LTPTrainer.training_step, []

    def fails(self, *arguments, **options):
        calls.append(None)
        if len(calls) > step:
            raise RuntimeError("the machine went away")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(LTPTrainer, "training_step", fails)

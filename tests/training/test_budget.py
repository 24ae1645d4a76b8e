"""Budgets end to end on a tiny encoder: the FLOPs of a run are those that were asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.stage_runs import interrupt, refusal, told

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models.loading import load_pruned
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import KEEP_FIRST, PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.training.stage import Stage
from ltp.training.stages import train

pytestmark = pytest.mark.usefixtures("one_thread")
SOFT = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=4, flops_target=0.6)
HARD = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=2, flops_target=0.6)


@pytest.fixture(scope="module")
def converted(tiny_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget") / "converted"
    convert(tiny_study.base, folder, PruningSettings(scoring_mode="contribution"))
    return folder


@pytest.fixture(scope="module")
def soft(tiny_study, converted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget") / "soft"
    train(Stage("soft", "budget", str(converted), tiny_study.data, folder, SOFT))
    return folder


def test_soft_and_hard_meet_the_target(tiny_study, soft, tmp_path, monkeypatch):
    monkeypatch.setattr("ltp.training.budget.RECALIBRATION_STEPS", 4)
    learned = read_metrics(soft)
    hard = train(Stage("hard", "budget", str(soft), tiny_study.data, tmp_path / "hard", HARD))
    for metrics in (learned, hard):
        budget = metrics["budget"]
        assert budget["target"] == metrics["settings"]["flops_target"] == 0.6
        assert budget["reached"] == pytest.approx(0.6, abs=0.02)
        assert metrics["flops"]["validation"]["relative"] == pytest.approx(0.6, abs=0.06)  # 16 sentences, not 48
    assert learned["budget"]["start"] == pytest.approx(0.6, abs=0.02) and hard["budget"]["start"] is None
    assert learned["budget"]["trained"] == pytest.approx(0.6, abs=0.1)
    assert learned["settings"]["temperature"] == 0.3 and learned["settings"]["threshold_learning_rate"] == 0.02
    assert "lambda" not in learned["settings"] and "lambda" not in hard["settings"]
    assert hard["settings"]["soft_learning_rate"] == 1e-3 and hard["settings"]["temperature"] == 0.3
    assert learned["layers"]["threshold"][-1] == hard["layers"]["threshold"][-1] == KEEP_FIRST
    assert verify_run(soft) == verify_run(tmp_path / "hard") == []
    assert load_pruned(tmp_path / "hard").thresholds().tolist() == hard["layers"]["threshold"]


def test_thresholds_move_in_the_soft_stage(converted, tiny_study, soft, tmp_path):
    still = replace(SOFT, threshold_learning_rate=1e-9)
    train(Stage("soft", "budget", str(converted), tiny_study.data, tmp_path / "still", still))
    before, after = (read_metrics(folder)["layers"]["threshold"][0] for folder in (tmp_path / "still", soft))
    assert before != after


def test_a_hard_stage_alone_calibrates(converted, tiny_study, tmp_path):
    """The same without learning thresholds: set from the scores, and again while the weights change."""
    hard = train(Stage("hard", "budget", str(converted), tiny_study.data, tmp_path / "hard", HARD))
    assert hard["budget"]["start"] == pytest.approx(0.6, abs=0.02) == hard["budget"]["reached"]
    again = Stage("hard", "budget", str(converted), tiny_study.data, tmp_path / "again", HARD)
    train(again)
    assert told(tmp_path / "again") == told(tmp_path / "hard")


def test_what_does_not_fit_is_refused(converted, tiny_study, soft, tmp_path):
    data = tiny_study.data
    low = replace(SOFT, flops_target=0.05)
    assert "0.05 cannot be reached" in refusal("soft", "budget", str(converted), data, tmp_path / "low", low)
    message = refusal("soft", "budget", str(tiny_study.converted), data, tmp_path / "mean", SOFT)
    assert "scoring_mode: mean does not fit these soft masks; expected relative or contribution" in message
    base = replace(HARD, epochs=1)
    assert "base stage drops no tokens" in refusal("base", "dense", str(tiny_study.encoder), data, tmp_path / "b", base)
    with pytest.raises(LTPError, match=r"lambda: 0\.1 with flops_target: 0\.5; expected one of them"):
        TrainingSettings(lambda_=0.1, flops_target=0.5)


@pytest.mark.parametrize(("stage", "settings"), [("soft", SOFT), ("hard", HARD)])
def test_an_interrupted_budget_run_ends_the_same(stage, settings, converted, tiny_study, tmp_path, monkeypatch):
    """Thresholds that were set again on the way are those of the checkpoint."""
    monkeypatch.setattr("ltp.training.budget.RECALIBRATION_STEPS", 3)
    saving = replace(settings, checkpoint_minutes=1e-9)
    arguments = (stage, "budget", str(converted), tiny_study.data)
    train(Stage(*arguments, tmp_path / "whole", saving))
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train(Stage(*arguments, tmp_path / "run", saving))
    assert train(Stage(*arguments, tmp_path / "run", saving))["timing"]["resumed"]
    assert told(tmp_path / "run") == told(tmp_path / "whole")

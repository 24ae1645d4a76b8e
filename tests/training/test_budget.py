"""Budgets end to end on a tiny encoder: the FLOPs of a run are those that were asked for."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
import torch
from helpers.stage_runs import interrupt, refusal, told

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models.loading import load_pruned
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import KEEP_FIRST, THRESHOLDS, PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.text.dataset import load
from ltp.training.budget import Budget
from ltp.training.sample import learn_saliency
from ltp.training.stage import Stage
from ltp.training.stages import train
from ltp.training.trainer import LTPTrainer

pytestmark = pytest.mark.usefixtures("one_thread")
SHARED = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=4, flops_target=0.8, least_flops_target=0.5)
FIXED = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=2, flops_target=0.6)
SET = TrainingSettings(epochs=0, flops_target=0.6)


@pytest.fixture(scope="module")
def converted(tiny_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget") / "converted"
    convert(tiny_study.base, folder, PruningSettings(scoring_mode="saliency"))
    return folder


@pytest.fixture(scope="module")
def shared(tiny_study, converted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget") / "soft"
    train(Stage("soft", "budget", str(converted), tiny_study.data, folder, SHARED))
    return folder


def test_one_training_serves_every_target_between_its_ends(tiny_study, shared, tmp_path):
    learned = read_metrics(shared)
    assert learned["budget"] == {"target": 0.8, "least": 0.5, "reached": pytest.approx(0.8, abs=0.02)}
    assert learned["settings"]["masking"] == "hard" and "lambda" not in learned["settings"]
    for target in (0.5, 0.6, 0.8):
        output = tmp_path / str(target)
        hard = train(Stage("hard", "budget", str(shared), tiny_study.data, output, replace(SET, flops_target=target)))
        assert hard["budget"] == {"target": target, "reached": pytest.approx(target, abs=0.02)}
        assert hard["flops"]["validation"]["relative"] == pytest.approx(target, abs=0.06)  # 16 sentences, not 48
        assert hard["settings"]["epochs"] == 0 and hard["settings"]["soft_epochs"] == 4
        assert hard["layers"]["threshold"][-1] == KEEP_FIRST and verify_run(output) == []
        assert load_pruned(output).thresholds().tolist() == hard["layers"]["threshold"]
        weights, before = load_pruned(output).state_dict(), load_pruned(shared).state_dict()
        assert all(torch.equal(weights[name], before[name]) for name in weights if name != THRESHOLDS)
    assert verify_run(shared) == []


def test_probes_are_fitted_on_the_dense_model_before_it_is_trained(tiny_study, converted, shared, tmp_path):
    """And once: neither the training nor the stages after it change them. Top-k has them as well, without a target."""
    splits, _ = load(tiny_study.data)
    dense = load_pruned(converted)
    assert not dense.saliency_probes.any()
    learn_saliency(dense, splits["train"], SHARED.seed)
    assert dense.saliency_probes.count_nonzero() > 10
    train(Stage("hard", "budget", str(shared), tiny_study.data, tmp_path / "hard", SET))
    fitted = load_pruned(shared).saliency_probes
    assert torch.equal(load_pruned(tmp_path / "hard").saliency_probes, fitted)
    topk = PruningSettings(prune_mode="topk", token_keep_rate=0.3, scoring_mode="saliency")
    convert(tiny_study.base, tmp_path / "converted", topk)
    train(Stage("hard", "topk", str(tmp_path / "converted"), tiny_study.data, tmp_path / "topk", TrainingSettings()))
    for other in (dense, load_pruned(tmp_path / "topk")):  # the sum's order, and the threads, are others
        torch.testing.assert_close(other.saliency_probes, fitted, atol=1e-4, rtol=1e-3)


def test_each_step_draws_a_target_of_its_own(tiny_study, converted):
    splits, _ = load(tiny_study.data)
    model = load_pruned(converted)
    budget, again = (Budget(model, splits["train"], SHARED) for _ in range(2))
    drawn = [budget.draw(step) for step in range(400)]
    assert drawn == [again.draw(step) for step in range(400)] and len(set(drawn)) == 400
    assert 0.5 <= min(drawn) < 0.51 and 0.79 < max(drawn) <= 0.8
    assert sum(target < math.sqrt(0.5 * 0.8) for target in drawn) == pytest.approx(200, abs=40)
    assert Budget(model, splits["train"], FIXED).draw(3) == pytest.approx(0.6)


def test_a_hard_stage_alone_trains_for_its_target(converted, tiny_study, tmp_path):
    hard = train(Stage("hard", "budget", str(converted), tiny_study.data, tmp_path / "hard", FIXED))
    assert hard["budget"]["reached"] == pytest.approx(0.6, abs=0.02)
    train(Stage("hard", "budget", str(converted), tiny_study.data, tmp_path / "again", FIXED))
    assert told(tmp_path / "again") == told(tmp_path / "hard")


def test_topk_is_trained_for_budgets_too(tiny_study, tmp_path):
    convert(tiny_study.base, tmp_path / "converted", PruningSettings(prune_mode="topk"))
    learned = train(
        Stage("soft", "topk_budget", str(tmp_path / "converted"), tiny_study.data, tmp_path / "soft", SHARED)
    )
    assert learned["budget"]["reached"] == pytest.approx(0.8, abs=0.02) and learned["layers"]["threshold"] is None
    hard = train(Stage("hard", "topk_budget", str(tmp_path / "soft"), tiny_study.data, tmp_path / "hard", SET))
    assert hard["budget"]["reached"] == pytest.approx(0.6, abs=0.02)
    assert hard["flops"]["validation"]["relative"] == pytest.approx(0.6, abs=0.03)
    loaded = load_pruned(tmp_path / "hard")
    assert loaded.rule().keep_rates == loaded.config.token_keep_rates and loaded.config.token_keep_rates[-1] == 0.0
    assert not hasattr(loaded.to_base().config, "token_keep_rates") and verify_run(tmp_path / "hard") == []


def test_the_papers_score_takes_a_target_too(tiny_study, tmp_path):
    hard = train(Stage("hard", "budget", str(tiny_study.converted), tiny_study.data, tmp_path / "hard", FIXED))
    assert hard["budget"]["reached"] == pytest.approx(0.6, abs=0.03)


def test_what_does_not_fit_is_refused(converted, shared, tiny_study, tmp_path):
    data = tiny_study.data
    low, finished = replace(SHARED, least_flops_target=0.05), tmp_path / "low"
    shutil.copytree(shared, finished)
    with pytest.raises(LTPError, match=r"0\.05 cannot be reached"):
        train(Stage("soft", "budget", str(converted), data, finished, low))
    assert verify_run(finished) == []  # what was refused removes nothing
    base = replace(FIXED, epochs=1)
    assert "base stage drops no tokens" in refusal("base", "dense", str(tiny_study.encoder), data, tmp_path / "b", base)
    with pytest.raises(LTPError, match=r"lambda: 0\.1 with flops_target: 0\.5; expected one of them"):
        TrainingSettings(lambda_=0.1, flops_target=0.5)
    for target in (0.4, None):
        with pytest.raises(LTPError, match=rf"least_flops_target: 0\.5 with flops_target: {target}; expected a"):
            TrainingSettings(least_flops_target=0.5, flops_target=target)


def test_weights_that_are_no_numbers_are_seen_without_a_logged_loss(converted, tiny_study, tmp_path, monkeypatch):
    step = LTPTrainer.training_step

    def broken(trainer, model, *arguments, **options):
        loss = step(trainer, model, *arguments, **options)
        with torch.no_grad():
            model.classifier.bias.fill_(math.nan)
        return loss

    monkeypatch.setattr(LTPTrainer, "training_step", broken)
    settings = replace(FIXED, epochs=0.2)  # too few steps for a logged loss
    found = train(Stage("hard", "budget", str(converted), tiny_study.data, tmp_path / "run", settings))
    assert found["status"] == "diverged" and found["reason"] == "the weights became no finite numbers"


@pytest.mark.parametrize(("stage", "settings"), [("soft", SHARED), ("hard", FIXED)])
def test_an_interrupted_budget_run_ends_the_same(stage, settings, converted, tiny_study, tmp_path):
    """Steps that come after the checkpoint draw the targets that they would have drawn."""
    saving = replace(settings, checkpoint_minutes=1e-9)
    arguments = (stage, "budget", str(converted), tiny_study.data)
    train(Stage(*arguments, tmp_path / "whole", saving))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train(Stage(*arguments, tmp_path / "run", saving))
    assert train(Stage(*arguments, tmp_path / "run", saving))["timing"]["resumed"]
    assert told(tmp_path / "run") == told(tmp_path / "whole")

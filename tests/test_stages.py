"""Stages end to end on a tiny encoder: what a run leaves behind, and what happens when it is cut, changed or broken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from conftest import WORDS
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from ltp.convert import convert
from ltp.data import load, prepare
from ltp.errors import LTPError
from ltp.evaluation import evaluate_checkpoint
from ltp.model import LTPForSequenceClassification
from ltp.records import canonical_sha256
from ltp.runs import read_metrics, read_predictions, verify_run
from ltp.settings import PruningSettings, TrainingSettings
from ltp.settings_data import DataSettings
from ltp.stages import STATE, TEACHING, train
from ltp.trainer import LTPTrainer, last_checkpoint

BASE = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=2)
HARD = TrainingSettings(learning_rate=1e-3, batch_size=8)  # six steps
SOFT = TrainingSettings(  # twelve steps
    learning_rate=1e-3, batch_size=8, epochs=2, seed=3, temperature=0.01, lambda_=0.2, lambda_warmup=0.5,
    threshold_learning_rate=2e-3,
)  # fmt: skip
SAVING = replace(SOFT, checkpoint_minutes=1e-9)  # the same run, with a checkpoint after each step
DIE_WHILE_SAVING = """
import os, signal, sys
from ltp import stages, trainer
from ltp.settings import TrainingSettings

class Dies(trainer.CheckpointByTime):
    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 5:  # the checkpoint's files are there, its mark is not
            os.kill(os.getpid(), signal.SIGKILL)
        super().on_save(args, state, control, **kwargs)

trainer.CheckpointByTime = Dies
stages.train("soft", "ltp", *sys.argv[1:4], TrainingSettings(**{settings}))
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def soft(tiny_study, tmp_path_factory):
    """A soft run that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        folder = tmp_path_factory.mktemp("runs") / "soft"
        train("soft", "ltp", str(tiny_study.converted), tiny_study.data, folder, SOFT)
    return folder


def told(folder) -> dict:
    """metrics.json without what may differ between identical runs."""
    metrics = read_metrics(folder)
    del metrics["timing"]
    return metrics


def refusal(*arguments, **options) -> str:
    with pytest.raises(LTPError) as caught:
        train(*arguments, **options)
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


def test_from_base_to_hard(tiny_study, soft, tmp_path):
    """Each stage starts from its parent; thresholds move in the soft stage and in no other."""
    hard = train("hard", "ltp", str(soft), tiny_study.data, tmp_path / "hard", HARD)
    base, learned = told(tiny_study.base), told(soft)
    assert base["stage"] == "base" and base["parent"] is None and base["layers"]["threshold"] is None
    assert base["settings"]["masking"] == "none" and base["flops"]["test"]["relative"] == 1.0

    assert learned["settings"]["masking"] == "soft" and set(learned["metrics"]) == {"validation"}
    assert learned["settings"]["temperature"] == 0.01 and learned["settings"]["lambda"] == 0.2
    moved = [end - start for end, start in zip(learned["layers"]["threshold"], (0.03, 0.06), strict=True)]
    assert all(1e-4 < abs(step) <= 12 * 2e-3 for step in moved)

    assert set(hard["metrics"]) == set(hard["flops"]) == {"validation", "test"}
    assert hard["layers"]["threshold"] == learned["layers"]["threshold"]
    assert hard["settings"]["masking"] == "hard" and hard["settings"]["learning_rate"] == 1e-3
    taken_over = {"temperature": 0.01, "lambda": 0.2, "soft_learning_rate": 1e-3, "soft_epochs": 2}
    assert {name: hard["settings"][name] for name in taken_over} == taken_over
    assert hard["parent"] == {"path": str(soft), "fingerprint": read_metrics(soft)["fingerprint"]}
    assert 0.2 < hard["flops"]["test"]["relative"] < 1.0
    attended, left = hard["layers"]["attention_tokens"], hard["layers"]["ffn_tokens"]
    assert attended[0] >= left[0] == attended[1] >= left[1] >= 1.0
    assert hard["status"] == "complete" and hard["examples"] == {"train": 48, "validation": 16, "test": 16}
    for folder in (tiny_study.base, soft, tmp_path / "hard"):
        assert verify_run(folder) == [] and not (folder / STATE).exists()
        assert (folder / "README.md").read_text().count("accuracy") >= 2


def test_what_a_run_leaves_loads(tiny_study, soft):
    """A plain Hugging Face classifier after the base stage, one that prunes after the others."""
    base = AutoModelForSequenceClassification.from_pretrained(tiny_study.base)
    assert type(base) is BertForSequenceClassification and base.config.id2label == {0: "negative", 1: "positive"}
    assert set(load_file(tiny_study.base / "model.safetensors")) == set(base.state_dict())
    learned = AutoModelForSequenceClassification.from_pretrained(soft)
    assert type(learned) is LTPForSequenceClassification and learned.soft_temperature is None
    assert learned.config.hidden_dropout_prob == 0.1 and learned.config.id2label == {0: "negative", 1: "positive"}
    assert learned.thresholds().tolist() == pytest.approx(read_metrics(soft)["layers"]["threshold"])
    assert AutoTokenizer.from_pretrained(soft)("a film")["input_ids"][0] == 2


@pytest.mark.parametrize(("method", "pruning"), [
    ("topk", PruningSettings(prune_mode="topk", token_keep_rate=0.2)),
    ("manual", PruningSettings(final_token_threshold=0.05, score_length=16)),
])  # fmt: skip
def test_baselines_go_straight_to_hard(tiny_study, tmp_path, method, pruning):
    convert(tiny_study.base, tmp_path / "converted", pruning)
    hard = train("hard", method, str(tmp_path / "converted"), tiny_study.data, tmp_path / "hard", HARD)
    assert hard["status"] == "complete" and {k: hard["settings"][k] for k in vars(pruning)} == vars(pruning)
    assert hard["layers"]["threshold"] == (None if method == "topk" else pytest.approx([0.025, 0.05]))
    assert "temperature" not in hard["settings"] and "lambda" not in hard["settings"]


def test_predictions_are_in_the_order_of_the_data(tiny_study, soft):
    """Those of each sentence by itself, and what a saved run scores is what its metrics say."""
    splits, _ = load(tiny_study.data)
    predictions = read_predictions(tiny_study.base)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_study.base).eval()
    assert set(predictions) == {"validation", "test"}
    for name, columns in predictions.items():
        assert columns["labels"] == splits[name]["labels"][:]
        with torch.no_grad():
            alone = [model(torch.tensor([ids])).logits.argmax().item() for ids in splits[name]["input_ids"]]
        assert columns["predictions"] == alone and set(alone) == {0, 1}
    for folder in (tiny_study.base, soft):
        metrics = read_metrics(folder)
        found = evaluate_checkpoint(folder, tiny_study.data)
        assert found["metrics"]["validation"] == metrics["metrics"]["validation"]
        assert found["flops"]["validation"] == metrics["flops"]["validation"]


def test_identical_runs_give_identical_metrics(tiny_study, soft, tmp_path):
    """Weights and predictions too: their sha256 are in metrics.json. Another seed gives others."""
    train("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "again", SOFT)
    assert told(tmp_path / "again") == told(soft)
    other = replace(SOFT, seed=4)
    train("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "other", other)
    assert told(tmp_path / "other")["files"]["model.safetensors"] != told(soft)["files"]["model.safetensors"]


def test_an_interrupted_run_goes_on_and_ends_the_same(tiny_study, soft, tmp_path, monkeypatch):
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", SAVING)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train(*arguments)
    run = tmp_path / "run"
    assert not (run / "metrics.json").exists() and (run / STATE / "checkpoint-7" / "complete").exists()
    with monkeypatch.context() as patch:
        interrupt(patch, step=5)  # twelve steps less seven: a run from the start would not come through
        assert train(*arguments)["timing"]["resumed"]
    assert told(run) == told(soft) and not (run / STATE).exists()


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(tiny_study, soft, tmp_path):
    run = tmp_path / "run"
    script = DIE_WHILE_SAVING.format(settings=vars(SAVING))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_study.converted), str(tiny_study.data), str(run)],
        env=environment, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    checkpoints = {path.name: (path / "complete").exists() for path in (run / STATE).glob("checkpoint-*")}
    assert checkpoints["checkpoint-5"] is False and checkpoints["checkpoint-4"] is True
    assert not (run / "metrics.json").exists()
    finished = train("soft", "ltp", str(tiny_study.converted), tiny_study.data, run, SOFT)
    assert finished["timing"]["resumed"] and told(run) == told(soft)


@pytest.mark.parametrize(
    ("change", "resumed"),
    [({"lambda_": 0.1}, False), ({"checkpoint_minutes": 5.0}, True)],
)
def test_a_checkpoint_of_other_settings_is_not_gone_on_from(tiny_study, tmp_path, monkeypatch, change, resumed):
    paths = (str(tiny_study.converted), tiny_study.data, tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        interrupt(patch, step=7)
        train("soft", "ltp", *paths, SAVING)
    steps = []
    whole = LTPTrainer.training_step
    monkeypatch.setattr(LTPTrainer, "training_step", lambda self, *a, **k: steps.append(1) or whole(self, *a, **k))
    metrics = train("soft", "ltp", *paths, replace(SOFT, **change))
    assert metrics["timing"]["resumed"] is resumed and len(steps) == (5 if resumed else 12)


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
    found = train("base", "dense", str(broken_encoder), tiny_study.data, base, BASE)
    assert found["status"] == "diverged" and found["reason"] == "the loss became nan by step 10 of 12"
    convert(base, converted, PruningSettings())
    train("soft", "ltp", str(converted), tiny_study.data, soft, SOFT)
    train("hard", "ltp", str(soft), tiny_study.data, hard, HARD)
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
    found = train("base", "dense", str(broken_encoder), tiny_study.data, tmp_path / "run", HARD)
    assert found["status"] == "diverged"
    assert found["reason"] == "the outputs on the validation split are not finite numbers"


def test_a_run_that_diverges_leaves_no_earlier_model(tiny_study, broken_encoder, tmp_path):
    """Where a run's directory is used again, what a sound run left there must not pass for the broken one's."""
    run = tmp_path / "run"
    train("base", "dense", str(tiny_study.encoder), tiny_study.data, run, HARD)
    assert (run / "model.safetensors").exists()
    train("base", "dense", str(broken_encoder), tiny_study.data, run, HARD)
    assert read_metrics(run)["status"] == "diverged"
    assert not [path.name for path in run.iterdir() if not path.name.startswith(("metrics", "tokenizer"))]


def test_distillation_learns_from_the_dense_run(tiny_study, soft, tmp_path):
    """From the outputs that it wrote: those of each training sentence, in the order of the data."""
    dense = tmp_path / "dense"
    train("base", "dense", str(tiny_study.encoder), tiny_study.data, dense, BASE, teach=True)
    logits = load_file(dense / TEACHING)["logits"]
    model = AutoModelForSequenceClassification.from_pretrained(dense).eval()
    splits, _ = load(tiny_study.data)
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([ids])).logits for ids in splits["train"]["input_ids"]])
    torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-4)

    distilled, arguments = replace(SOFT, distillation=0.5), (str(tiny_study.converted), tiny_study.data)
    found = train("soft", "ltp", *arguments, tmp_path / "soft", distilled, teacher=dense)
    assert found["settings"]["distillation"] == 0.5
    assert found["files"]["model.safetensors"] != read_metrics(soft)["files"]["model.safetensors"]
    run = tmp_path / "refused"
    assert "distillation: 0.5 needs --teacher" in refusal("soft", "ltp", *arguments, run, distilled)
    message = refusal("soft", "ltp", *arguments, run, distilled, teacher=tiny_study.base)
    assert f"{tiny_study.base / TEACHING}: is not there; train the dense run with --teach" in message


def test_regression_on_pairs(tiny_encoder, tmp_path):
    """Another kind of task through all stages: two texts with token types, a number to predict."""
    text = tmp_path / "text"
    text.mkdir()
    for name, count in (("train", 24), ("dev", 12)):
        rows = [(" ".join(WORDS[: 2 + row % 9]), f"{WORDS[row % 16]} {name}{row}", row % 5 / 2) for row in range(count)]
        pd.DataFrame(rows, columns=["first", "second", "score"]).to_csv(text / f"{name}.csv", index=False)
    pairs = DataSettings(
        task="alike", source="local", path=str(text), model=str(tiny_encoder), text_columns=("first", "second"),
        label_column="score", kind="regression", metrics=("pearson", "spearman"), max_length=24,
    )  # fmt: skip
    prepare(pairs, tmp_path / "data")
    base = train("base", "dense", str(tiny_encoder), tmp_path / "data", tmp_path / "base", HARD)
    convert(tmp_path / "base", tmp_path / "converted", PruningSettings(final_token_threshold=0.05, score_length=16))
    paths = (str(tmp_path / "converted"), tmp_path / "data")
    soft = train("soft", "ltp", *paths, tmp_path / "soft", replace(SOFT, epochs=1))
    hard = train("hard", "ltp", str(tmp_path / "soft"), tmp_path / "data", tmp_path / "hard", HARD)
    for metrics in (base, soft, hard):
        assert metrics["status"] == "complete" and set(metrics["metrics"]["validation"]) == {
            "pearson", "spearman", "loss",
        }  # fmt: skip
    splits, _ = load(tmp_path / "data")
    found = read_predictions(tmp_path / "hard")["test"]
    assert found["labels"] == splits["test"]["labels"][:] and all(isinstance(p, float) for p in found["predictions"])
    squares = [(p - label) ** 2 for p, label in zip(found["predictions"], found["labels"], strict=True)]
    assert hard["metrics"]["test"]["loss"] == pytest.approx(sum(squares) / len(squares), rel=1e-5)


@pytest.mark.parametrize("missing", ["temperature", "lambda_"])
def test_a_soft_stage_without_lambda_or_temperature_is_refused(tiny_study, tmp_path, missing):
    settings = replace(SOFT, **{missing: None})
    message = refusal("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", settings)
    assert message == "stage soft: needs --temperature and --lambda"


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
    train(*arguments)
    interrupt(monkeypatch, step=2)
    with pytest.raises(RuntimeError):
        train(*arguments)
    assert not (run / "metrics.json").exists() and last_checkpoint(run / STATE) is None

"""Stages end to end on a tiny encoder, and what a run leaves behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.stage_runs import BASE, HARD, SOFT, refusal, told
from helpers.tiny_text import WORDS
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from ltp.common.io import file_sha256
from ltp.conversion.convert import convert
from ltp.models.flops import Sizes, encoder_macs
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.checkpoint import read_config
from ltp.results.run import CHECKPOINT, read_metrics, read_predictions
from ltp.results.verify import verify_run
from ltp.settings.data import DataSettings
from ltp.settings.pruning import PruningSettings
from ltp.text.dataset import load
from ltp.text.prepare import prepare
from ltp.training.evaluation import evaluate_checkpoint
from ltp.training.recording import TRAIN_LOGITS
from ltp.training.stage import Stage
from ltp.training.stages import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_from_base_to_hard(tiny_study, soft, tmp_path):
    """Each stage starts from its parent; thresholds move in the soft stage and in no other."""
    hard = train(Stage("hard", "ltp", str(soft), tiny_study.data, tmp_path / "hard", HARD))
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
        assert verify_run(folder) == [] and not (folder / CHECKPOINT).exists()
        assert (folder / "README.md").read_text().count("accuracy") >= 2


def test_a_base_run_names_its_encoder(tiny_study, soft):
    sha256 = file_sha256(tiny_study.encoder / "model.safetensors")
    expected = {"name": str(tiny_study.encoder), "source": "local", "revision": None, "sha256": sha256}
    assert read_metrics(tiny_study.base)["encoder"] == expected
    assert "encoder" not in read_metrics(soft)  # it has a parent


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
    hard = train(Stage("hard", method, str(tmp_path / "converted"), tiny_study.data, tmp_path / "hard", HARD))
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
        assert columns["lengths"] == splits[name]["length"][:] and set(columns["relative_flops"]) == {1.0}
    for folder in (tiny_study.base, soft):
        metrics = read_metrics(folder)
        found = evaluate_checkpoint(folder, tiny_study.data)
        assert found["metrics"]["validation"] == metrics["metrics"]["validation"]
        assert found["flops"]["validation"] == metrics["flops"]["validation"]


def test_every_sentence_s_share_of_the_flops_is_recorded(tiny_study, soft):
    """What the split costs is the shares of its sentences, each weighted by what it would cost unpruned."""
    found, config = read_predictions(soft)["validation"], read_config(soft)
    assert "relative_flops" in found and set(map(len, found.values())) == {len(found["labels"])}
    counts = np.repeat(np.array(found["lengths"])[:, None], config["num_hidden_layers"], axis=1)
    dense = encoder_macs(counts, counts, Sizes(config["hidden_size"], config["intermediate_size"]))
    share = (dense * found["relative_flops"]).sum() / dense.sum()
    assert share == pytest.approx(read_metrics(soft)["flops"]["validation"]["relative"], abs=1e-5)
    assert share < 1


def test_identical_runs_give_identical_metrics(tiny_study, soft, tmp_path):
    """Weights and predictions too: their sha256 are in metrics.json. Another seed gives others."""
    train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "again", SOFT))
    assert told(tmp_path / "again") == told(soft)
    other = replace(SOFT, seed=4)
    train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "other", other))
    assert told(tmp_path / "other")["files"]["model.safetensors"] != told(soft)["files"]["model.safetensors"]


def test_distillation_learns_from_the_dense_run(tiny_study, soft, tmp_path):
    """From the outputs that it wrote: those of each training sentence, in the order of the data."""
    splits, _ = load(tiny_study.data)
    for precision, error in (("bf16", 0.02), ("fp32", 1e-5)):  # the outputs have the precision of the training
        dense, base = tmp_path / precision, replace(BASE, precision=precision)
        train(Stage("base", "dense", str(tiny_study.encoder), tiny_study.data, dense, base, save_train_logits=True))
        logits = load_file(dense / TRAIN_LOGITS)["logits"]
        model = AutoModelForSequenceClassification.from_pretrained(dense).eval()
        with torch.no_grad():
            alone = torch.cat([model(torch.tensor([ids])).logits for ids in splits["train"]["input_ids"]])
        torch.testing.assert_close(logits, alone, atol=error, rtol=10 * error)
        assert logits.dtype == torch.float32

    distilled, arguments = replace(SOFT, distillation=0.5), (str(tiny_study.converted), tiny_study.data)
    found = train(Stage("soft", "ltp", *arguments, tmp_path / "soft", distilled, teacher=dense))
    assert found["settings"]["distillation"] == 0.5
    assert found["files"]["model.safetensors"] != read_metrics(soft)["files"]["model.safetensors"]
    run = tmp_path / "refused"
    assert "distillation: 0.5 needs --teacher" in refusal("soft", "ltp", *arguments, run, distilled)
    message = refusal("soft", "ltp", *arguments, run, distilled, teacher=tiny_study.base)
    assert f"{tiny_study.base / TRAIN_LOGITS}: is not there; train the dense run with --save-train-logits" in message


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
    base = train(Stage("base", "dense", str(tiny_encoder), tmp_path / "data", tmp_path / "base", HARD))
    convert(tmp_path / "base", tmp_path / "converted", PruningSettings(final_token_threshold=0.05, score_length=16))
    paths = (str(tmp_path / "converted"), tmp_path / "data")
    soft = train(Stage("soft", "ltp", *paths, tmp_path / "soft", replace(SOFT, epochs=1)))
    hard = train(Stage("hard", "ltp", str(tmp_path / "soft"), tmp_path / "data", tmp_path / "hard", HARD))
    for metrics in (base, soft, hard):
        assert metrics["status"] == "complete" and set(metrics["metrics"]["validation"]) == {
            "pearson", "spearman", "loss",
        }  # fmt: skip
    splits, _ = load(tmp_path / "data")
    found = read_predictions(tmp_path / "hard")["test"]
    assert found["labels"] == splits["test"]["labels"][:] and all(isinstance(p, float) for p in found["predictions"])
    squares = [(p - label) ** 2 for p, label in zip(found["predictions"], found["labels"], strict=True)]
    assert hard["metrics"]["test"]["loss"] == pytest.approx(sum(squares) / len(squares), rel=1e-5)

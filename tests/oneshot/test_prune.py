"""`ltp prune` and `ltp.prune`: what comes out, what it costs, and that nothing is left behind."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.one_call import save_classifier, some_texts
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import ltp
from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.oneshot import clock
from ltp.oneshot.original import load_original
from ltp.oneshot.prune import _Call
from ltp.oneshot.texts import make_texts, task_of
from ltp.settings.oneshot import PruneSettings
from ltp.text.types import Table


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_the_screen_says_what_was_kept_and_what_it_saves(pruned):
    assert "answers as the original's" in pruned.screen and "FLOPs" in pruned.screen
    assert "one at a time" in pruned.screen and "accuracy × 100" in pruned.screen
    (point,) = report(pruned.folder)["points"]
    assert point["flops"] == pytest.approx(0.5, abs=0.03)
    (found,) = point["agreement"]
    assert found["low"] <= found["estimate"] <= found["high"] and found["equal"] <= point["kept"]
    one, many = (row["batch"] for row in point["speed"])
    assert one == 1 < many <= 32  # as many as there is time for


def test_the_screen_tells_pruning_from_packing_and_says_what_was_cut(pruned):
    (point,) = report(pruned.folder)["points"]
    for row in point["speed"]:
        assert f"{row['speedup']:.2f} × as fast, {row['by_pruning']:.2f} × by pruning" in pruned.screen
    found = report(pruned.folder)
    assert found["texts"]["cut"] == 0 and "cut at" not in pruned.screen
    from ltp.oneshot.screen import card, screen

    found["texts"]["cut"] = 7
    for text in (screen(found), card(found, point, "")):
        assert "(7 are cut at 32 tokens, for the original too)" in text


def test_texts_that_fill_the_length_are_not_cut(classifier):
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    written = some_texts(260)
    tokens = [len(tokenizer(text)["input_ids"]) for text in written]
    for length in (max(tokens), max(tokens) - 2):
        settings = PruneSettings(text_columns=("text",), max_length=length)
        texts = make_texts(load_original(classifier), Table("texts", pd.DataFrame({"text": written})), settings)
        assert texts.count_cut(tokenizer) == sum(count > length for count in tokens)


def test_more_than_the_minutes_hold_is_said(classifier, monkeypatch, capsys):
    monkeypatch.setattr(clock, "SPEED_PASSES", 10_000_000)

    def stop(*_):
        raise LTPError("enough")

    monkeypatch.setattr(_Call, "_measure", stop)
    with pytest.raises(LTPError, match="enough"):
        ltp.prune(str(classifier), None, some_texts(220), minutes=0.1)
    assert "minutes: 0.1 is less than this model and text need: answers and timing alone" in capsys.readouterr().err


def test_what_sentence_transformers_keeps_beside_a_model_goes_with_it(classifier, tmp_path):
    folder = shutil.copytree(classifier, tmp_path / "model")
    (folder / "config_sentence_transformers.json").write_text('{"activation_fn": "torch.nn.modules.linear.Identity"}')
    ltp.prune(str(folder), None, some_texts(220), output=tmp_path / "out", minutes=0.1)
    name = "config_sentence_transformers.json"
    assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_a_table_of_pairs_is_read_as_such(classifier, tmp_path):
    table = pd.DataFrame({"text": ["a"], "text_pair": ["b"], "n": ["1"]})
    task = task_of(load_original(str(classifier)), Table("t", table), PruneSettings())
    assert task.text_columns == ("text", "text_pair")


def test_nothing_but_the_screen_is_printed(pruned):
    assert pruned.screen.startswith("small: pruned on 200 texts, reported on 100 kept aside")
    assert "loss" not in pruned.screen and "it/s" not in pruned.screen


def test_progress_is_shown_throughout(pruned):
    for step in (
        "measuring small",
        "measuring a training step",
        "50 % of the FLOPs",
        "comparing answers",
        "milliseconds",
    ):
        assert step in pruned.progress


def test_the_report_says_what_the_saved_model_answers(pruned, classifier):
    """The agreement, counted again by transformers alone on the texts kept aside."""
    from ltp.text.dataset import load

    splits, info = load(pruned.folder / "data")
    texts = splits["validation"]["text"]
    answers = {}
    for name, folder in (("original", classifier), ("pruned", pruned.folder)):
        classify = pipeline("text-classification", model=str(folder), device="cpu")
        answers[name] = np.array([answer["label"] for answer in classify(list(texts), truncation=True)])
    (point,) = report(pruned.folder)["points"]
    assert (answers["original"] == answers["pruned"]).sum() == point["agreement"][0]["equal"]
    assert len(texts) == point["kept"] and info["kind"] == "classification"
    labels = [info["label_names"][number] for number in splits["validation"]["labels"]]
    assert labels == answers["original"].tolist()


def test_the_changes_are_those_of_the_answers(pruned):
    (point,) = report(pruned.folder)["points"]
    changed = point["kept"] - point["agreement"][0]["equal"]
    assert sum(change["texts"] for change in point["changes"]) == changed
    assert len(point["examples"]) == min(3, changed)


def test_it_exports_without_being_told_of_data(pruned, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    assert main(["export", str(pruned.folder), f"--output={tmp_path}/served", "--onnx", "--int8", "--plain"]) == 0
    out = capsys.readouterr().out
    assert "model.onnx: logits within" in out and "model.int8.onnx: accuracy" in out


def test_the_card_says_so_too(pruned):
    card = (pruned.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers") and "answers as the original's" in card
    assert "import ltp" in card


def test_nothing_is_left_beside_the_output(pruned):
    assert [path.name for path in pruned.folder.parent.iterdir()] == ["out"]
    assert not list(pruned.folder.rglob(".lock"))


def test_a_model_in_memory_stays_as_it_is(classifier):
    model, tokenizer = (
        kind.from_pretrained(classifier) for kind in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    limit = tokenizer.model_max_length
    result = ltp.prune(model, tokenizer, some_texts(220), flops=0.6, minutes=0.1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training is False and tokenizer.model_max_length == limit
    assert result.report["points"][0]["flops"] == pytest.approx(0.6, abs=0.03)
    batch = result.tokenizer(some_texts(3), return_tensors="pt", padding=True)
    assert (result.model(**batch).ffn_tokens.sum(1) < 2 * batch["attention_mask"].sum(1)).all()
    assert "answers as the original's" in str(result)


def test_several_budgets_give_a_table_and_a_picture(classifier, text_file, tmp_path, capsys):
    out = tmp_path / "frontier"
    command = [
        "prune",
        str(classifier),
        f"--text={text_file}",
        f"--output={out}",
        "--flops",
        "0.5",
        "0.8",
        "--minutes=0.2",
    ]
    assert main(command) == 0
    screen = capsys.readouterr().out
    assert screen.index("80 %") < screen.index("50 %")
    assert {path.name for path in out.iterdir()} == {
        "flops-0.8", "flops-0.5", "frontier.png", "frontier.svg", "frontier.csv", "report.json"
    }  # fmt: skip
    costs = [point["flops"] for point in report(out)["points"]]
    assert costs == pytest.approx([0.8, 0.5], abs=0.03)
    milder, other = (AutoModelForSequenceClassification.from_pretrained(out / f"flops-{share}") for share in (0.8, 0.5))
    assert milder.config.model_type == "ltp" and milder.saliency_probes.any()
    assert torch.equal(milder.saliency_probes, other.saliency_probes)  # of the original
    assert not torch.equal(milder.threshold_deltas, other.threshold_deltas)


def test_a_regression_is_compared_by_correlation(tmp_path):
    folder = save_classifier(tmp_path / "one", labels=1)
    result = ltp.prune(str(folder), None, some_texts(220), minutes=0.1)
    (found,) = result.report["points"][0]["agreement"]
    assert found["name"].startswith("Pearson") and -1 <= found["low"] <= found["estimate"] <= found["high"] <= 1
    assert math.isfinite(found["mean_difference"]) and result.report["points"][0]["changes"] == []


def test_importing_the_package_stays_light():
    code = "import sys, ltp; assert 'torch' not in sys.modules; assert 'prune' in ltp.__all__"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        _ = ltp.prun

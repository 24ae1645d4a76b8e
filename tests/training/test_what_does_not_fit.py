"""Data, teachers and checkpoints that do not belong together are refused in one line; a head of another size is not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers.stage_runs import BASE, HARD, SOFT, refusal, told
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ltp.cli.explain import explain_task
from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.export.export import export
from ltp.results.run import read_metrics
from ltp.settings.data import DataSettings
from ltp.text.dataset import load
from ltp.text.prepare import prepare
from ltp.text.tokenizer import check_tokenizer
from ltp.training.evaluation import evaluate_checkpoint
from ltp.training.recording import TRAIN_LOGITS
from ltp.training.stage import Stage
from ltp.training.stages import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def other(tiny_encoder, tiny_data, tmp_path_factory) -> SimpleNamespace:
    """The same text through a tokenizer whose words have other numbers: ``encoder`` and ``data``."""
    root = tmp_path_factory.mktemp("other")
    encoder = shutil.copytree(tiny_encoder, root / "encoder")
    content = json.loads((encoder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["film"], vocabulary["dull"] = vocabulary["dull"], vocabulary["film"]
    (encoder / "tokenizer.json").write_text(json.dumps(content))
    text = tiny_encoder.parent / "text"
    settings = DataSettings(task="sst2", source="local", path=str(text), model=str(encoder), max_length=24)
    prepare(settings, root / "data")
    return SimpleNamespace(encoder=encoder, data=root / "data")


def said(checkpoint, data) -> str:
    return f"{checkpoint}: its tokenizer is not the one that made {data} (that of "


def test_a_run_is_not_scored_on_the_tokens_of_another_tokenizer(tiny_study, other, capfd):
    with pytest.raises(LTPError) as caught:
        evaluate_checkpoint(tiny_study.base, other.data)
    assert str(caught.value).startswith(said(tiny_study.base, other.data)) and "\n" not in str(caught.value)
    assert main(["evaluate", str(tiny_study.base), f"--data={other.data}"]) == 1
    assert said(tiny_study.base, other.data) in capfd.readouterr().err.splitlines()[-1]


def test_nor_exported_nor_explained_with_them(tiny_study, other, tmp_path, monkeypatch):
    monkeypatch.setattr("ltp.export.export.require_onnx", lambda: None)
    with pytest.raises(LTPError, match="its tokenizer is not the one that made"):
        export(tiny_study.converted, tmp_path / "out", onnx=True, data_dir=other.data)
    shutil.copytree(other.data, tmp_path / "sst2/data")
    shutil.copytree(tiny_study.converted, tmp_path / "sst2/run")
    chosen = SimpleNamespace(directory=tmp_path / "sst2/run")
    monkeypatch.setattr("ltp.cli.explain._chosen", lambda *given: (chosen, "the only one"))
    with pytest.raises(LTPError, match="its tokenizer is not the one that made"):
        explain_task(tmp_path / "sst2")


def test_nor_trained_on_them(tiny_study, other, tmp_path):
    message = refusal("base", "dense", str(tiny_study.encoder), other.data, tmp_path / "run", BASE)
    assert message.startswith(said(tiny_study.encoder, other.data))
    message = refusal("hard", "manual", str(tiny_study.converted), other.data, tmp_path / "run", HARD)
    assert message.startswith(said(tiny_study.converted, other.data))


def test_data_and_runs_without_a_checksum_on_record_are_compared_by_their_tokenizers(tiny_study, other):
    """Those of earlier versions, and conversions."""
    infos = {path: load(path)[1] for path in (tiny_study.data, other.data)}
    checksums = {path: info.pop("tokenizer_sha256") for path, info in infos.items()}
    assert len(set(checksums.values())) == 2
    for checkpoint in (tiny_study.base, tiny_study.converted, tiny_study.encoder):
        assert check_tokenizer(checkpoint, tiny_study.data, infos[tiny_study.data]) == checksums[tiny_study.data]
        with pytest.raises(LTPError, match="its tokenizer is not the one"):
            check_tokenizer(checkpoint, other.data, infos[other.data])
    assert read_metrics(tiny_study.base)["tokenizer_sha256"] == checksums[tiny_study.data]


def test_a_checkpoint_without_tokenizer_cannot_be_compared(tiny_study, tmp_path):
    bare = tmp_path / "bare"
    BertForSequenceClassification.from_pretrained(tiny_study.base).save_pretrained(bare)
    with pytest.raises(LTPError, match=f"^{bare}: no tokenizer; expected tokenizer.json or "):
        evaluate_checkpoint(bare, tiny_study.data)


def test_texts_longer_than_the_model_takes_are_one_line(tiny_study, tmp_path):
    short = shutil.copytree(tiny_study.encoder, tmp_path / "short")
    config = BertConfig(**json.loads((short / "config.json").read_text()) | {"max_position_embeddings": 16})
    BertForSequenceClassification(config).save_pretrained(short)
    with pytest.raises(LTPError) as caught:
        evaluate_checkpoint(short, tiny_study.data)
    expected = f"{short}: takes 16 tokens, the texts in {tiny_study.data} have up to 24; make data for it with "
    assert str(caught.value).startswith(expected)
    text, model = str(tiny_study.encoder.parent / "text"), str(tiny_study.encoder)
    settings = DataSettings(task="sst2", source="local", path=text, model=model, max_length=8, test_max_lengths=(8, 20))
    prepare(settings, tmp_path / "data")
    with pytest.raises(LTPError, match=r"takes 16 tokens, the texts in .* have up to 20"):
        evaluate_checkpoint(short, tmp_path / "data")


def test_a_teacher_of_other_data_is_refused(tiny_study, tmp_path):
    """As many examples, but others: its outputs would belong to other sentences."""
    settings = DataSettings(
        task="sst2", source="local", path=str(tiny_study.encoder.parent / "text"), model=str(tiny_study.encoder),
        max_length=24, split_seed=1,
    )  # fmt: skip
    prepare(settings, tmp_path / "data")
    teacher = tmp_path / "teacher"
    train(Stage("base", "dense", str(tiny_study.encoder), tmp_path / "data", teacher, HARD, save_train_logits=True))
    assert len(load_file(teacher / TRAIN_LOGITS)["logits"]) == len(load(tiny_study.data)[0]["train"])
    arguments = ("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "soft")
    message = refusal(*arguments, replace(SOFT, distillation=0.5), teacher=teacher)
    assert message.startswith(f"{teacher}: was trained on other data (fingerprint ")
    assert message.endswith("train the dense run on these data")


def test_an_encoder_with_a_head_for_other_labels_gets_a_new_one(tiny_study, tmp_path, capfd):
    """As one that was fine-tuned on MNLI, for RTE."""
    tuned = tmp_path / "tuned"
    torch.manual_seed(5)
    config = BertConfig.from_pretrained(tiny_study.encoder, num_labels=3)
    model = BertForSequenceClassification.from_pretrained(tiny_study.encoder, config=config)
    model.save_pretrained(tuned)
    AutoTokenizer.from_pretrained(tiny_study.encoder).save_pretrained(tuned)
    for name in ("run", "again"):
        metrics = train(Stage("base", "dense", str(tuned), tiny_study.data, tmp_path / name, HARD))
    line = f"{tuned}: has a classification head for 3 labels, the data have 2; training starts with a new head\n"
    assert line in capfd.readouterr().err
    assert metrics["status"] == "complete" and told(tmp_path / "run") == told(tmp_path / "again")
    head = load_file(tmp_path / "run/model.safetensors")["classifier.weight"]
    assert head.shape == (2, 16) and 0 < head.abs().max() < 1
    train(Stage("base", "dense", str(tiny_study.base), tiny_study.data, tmp_path / "same", HARD))
    assert "new head" not in capfd.readouterr().err

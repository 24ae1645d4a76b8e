"""Conversion: another config and thresholds beside the very same bytes of weights."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch
from helpers import tiny
from helpers.tiny_text import save_tokenizer
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import ltp
from ltp.common.errors import LTPError
from ltp.conversion.convert import CONVERSION, convert
from ltp.results.manifest import read_manifest
from ltp.results.verify import verify_run
from ltp.settings.pruning import PruningSettings

ADDED = {"architectures", "model_type", "base_model_type", *vars(PruningSettings())}


def raw_tensors(path) -> dict[str, tuple[str, list[int], bytes]]:
    """Name → type, shape and bytes, read from the file by hand."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    header.pop("__metadata__")
    return {
        name: (entry["dtype"], entry["shape"], content[start:][slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


@pytest.fixture(params=(*tiny.KINDS, *tiny.ALIKE))
def checkpoint(request, tmp_path):
    folder = tmp_path / "base"
    tiny.base_model(request.param, labels=2).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.mark.parametrize("mode", ["absolute_threshold", "topk"])
def test_only_config_keys_and_thresholds_are_new(checkpoint, tmp_path, mode):
    pruning = tiny.PRUNING[mode]
    record = convert(checkpoint, tmp_path / "converted", pruning)
    converted = tmp_path / "converted"
    before, after = (raw_tensors(folder / "model.safetensors") for folder in (checkpoint, converted))
    if mode == "absolute_threshold":
        assert after.pop("threshold_deltas") == ("F32", [4], bytes(16))
    assert after == before and len(before) >= 30

    old, new = (json.loads((folder / "config.json").read_text()) for folder in (checkpoint, converted))
    assert {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} == ADDED
    assert new["base_model_type"] == old["model_type"] and new["model_type"] == "ltp"
    assert {name: new[name] for name in vars(pruning)} == vars(pruning)

    assert record["status"] == "complete" and record["pruning"] == vars(pruning) and record["parent"] is None
    assert read_manifest(converted / CONVERSION, "conversion") == record and verify_run(converted) == []
    assert set(record["files"]) >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (converted / name).read_bytes() == (checkpoint / name).read_bytes()


def test_converted_with_thresholds_zero_is_the_base_model(checkpoint, tmp_path):
    convert(checkpoint, tmp_path / "converted", PruningSettings(final_token_threshold=0.0))
    batch = tiny.batch(tiny.sentences([12, 5, 8]))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "converted")
    base = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    assert type(model).__module__ == f"{ltp.__name__}.models.modeling"
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, base(**batch).logits, atol=1e-5, rtol=0)
    # And what the library writes of it again holds the same numbers.
    model.save_pretrained(tmp_path / "again")
    again, before = (load_file(tmp_path / name / "model.safetensors") for name in ("again", "converted"))
    assert again.keys() == before.keys() and all(torch.equal(again[name], before[name]) for name in again)


def test_the_same_input_gives_the_same_files(checkpoint, tmp_path):
    first, second = (convert(checkpoint, tmp_path / name, PruningSettings()) for name in ("first", "second"))
    assert first == second
    assert convert(checkpoint, tmp_path / "first", PruningSettings()) == first  # over an earlier one
    assert (
        convert(checkpoint, tmp_path / "other", PruningSettings(score_length=64))["fingerprint"] != first["fingerprint"]
    )


@pytest.mark.parametrize("what", ["truncated", "foreign", "missing", "converted"])
def test_a_checkpoint_that_cannot_be_used_is_refused(checkpoint, tmp_path, what):
    source, expected = checkpoint, {
        "truncated": "truncated, fetch or save it anew",
        "foreign": "config.json: model_type is 'mpnet'; supported: bert, camembert",
        "missing": "is not there; expected a checkpoint folder",
        "converted": "config.json: model_type is 'ltp'; supported: bert, camembert",
    }[what]  # fmt: skip
    if what == "truncated":
        path = checkpoint / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "foreign":
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "mpnet"}))
    elif what == "missing":
        shutil.rmtree(checkpoint)
    else:
        source = tmp_path / "converted"
        convert(checkpoint, source, PruningSettings())
    with pytest.raises(LTPError) as caught:
        convert(source, tmp_path / "output", PruningSettings())
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "output" / CONVERSION).exists() and not (tmp_path / "output" / "model.safetensors").exists()


def test_a_checkpoint_is_not_converted_into_itself_nor_from_shards(checkpoint, tmp_path):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with pytest.raises(LTPError, match="is the checkpoint itself; choose another folder"):
        convert(checkpoint, checkpoint, PruningSettings())
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="10KB")
    with pytest.raises(LTPError, match=r"weights in several files; expected model\.safetensors"):
        convert(checkpoint, tmp_path / "converted", PruningSettings())


def test_added_tokens_go_with_the_tokenizer(checkpoint, tmp_path):
    (checkpoint / "added_tokens.json").write_text('{"[e1]": 40}')
    convert(checkpoint, tmp_path / "converted", PruningSettings())
    assert (tmp_path / "converted/added_tokens.json").read_text() == '{"[e1]": 40}'

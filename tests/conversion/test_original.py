"""Checkpoints of the original LTP code: what `ltp convert` makes of them decides and answers as they did."""

import json
import re

import numpy as np
import pytest
from helpers.original_checkpoint import CASE, CASES, COUNTS, HERE, PRUNED, THRESHOLD, lacks, original, rewrite
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.conversion.convert import THRESHOLDS, convert
from ltp.conversion.original import threshold_deltas
from ltp.models.pruning import rising
from ltp.results.manifest import read_manifest
from ltp.settings.pruning import PruningSettings


@pytest.mark.parametrize("name", PRUNED)
def test_a_converted_model_gives_the_originals_logits_and_keeps_the_tokens_that_it_keeps(tmp_path, name):
    import torch
    from transformers import AutoModelForSequenceClassification

    convert(original(tmp_path / "theirs", name), tmp_path / "ours", PruningSettings(score_length=24))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    with safe_open(HERE / "parity/cases.safetensors", "pt") as file:
        inputs = {key: file.get_tensor(f"inputs/{key}") for key in ("input_ids", "attention_mask")}
        expected = {key: file.get_tensor(f"{name}/{key}") for key in ("logits", *COUNTS)}
    with torch.no_grad():
        found = model(**inputs)
    first_stays = torch.tensor(CASES["cases"][name]["cls_kept_after_layer"]) == 1  # (L, B)
    # Here the first token always stays. Where the original drops it before the last layer, the two part ways.
    same = first_stays[:-1].all(0)
    assert same.sum() >= 5
    torch.testing.assert_close(found.logits[same], expected["logits"][same], atol=2e-5, rtol=1e-5)
    assert found.attention_tokens[same].tolist() == expected["attention_sentence_lengths"].T[same].tolist()
    # Where the number of tokens is given, another goes in its place.
    more = 0 if "topk" in name else (~first_stays).T[same]
    assert found.ffn_tokens[same].tolist() == (expected["ffn_sentence_lengths"].T[same] + more).tolist()


@pytest.mark.parametrize("name", [name for name in PRUNED if name.startswith("abs")])
def test_the_thresholds_are_the_originals_to_the_last_bit(tmp_path, name):
    from transformers import AutoModelForSequenceClassification

    convert(original(tmp_path / "theirs", name), tmp_path / "ours", PruningSettings())
    thresholds = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").thresholds()
    assert thresholds.tolist() == CASES["cases"][name]["thresholds_per_layer"]


@example(final=0.025938096159521182, learned=[0.05942058935761452])  # all sums lie between two numbers
@given(
    final=st.floats(0.001, 0.1),
    learned=st.lists(st.floats(-0.0625, 0.0625, width=32, allow_subnormal=False), min_size=1, max_size=24),
)
def test_any_learned_thresholds_are_kept(final, learned):
    layers = len(learned)
    found = np.array(rising(final, layers), np.float32) + threshold_deltas(final, learned, layers)
    theirs = np.array([np.float32(final * i / layers) + np.float32(delta) for i, delta in enumerate(learned)])
    expected = np.where(theirs == 0, 0, np.maximum(theirs, np.float32(1e-5)))  # the original's smallest
    # Exact, but where no number in single precision gives the sum: then to one step of the larger of the two.
    step = np.spacing(np.maximum(expected, np.float32(final)).astype(np.float32))
    assert (np.abs(found - expected) <= step).all()
    assert (found[theirs == 0] == 0).all()


def test_the_weights_are_copied_byte_for_byte_and_the_unused_left_out(tmp_path):
    theirs = original(tmp_path / "theirs", CASE)
    convert(theirs, tmp_path / "ours", PruningSettings())
    before, after = load_file(theirs / "model.safetensors"), load_file(tmp_path / "ours/model.safetensors")
    plain = load_file(HERE / "parity/weights_4l.safetensors")
    assert set(after) == {*plain, THRESHOLDS}
    for name, value in plain.items():
        assert after[name].tobytes() == value.tobytes() == before[re.sub("^roberta", "ibert", name)].tobytes()


def test_the_conversion_says_how_the_model_prunes(tmp_path, capsys):
    theirs = original(tmp_path / "theirs", "topk_0.2_4l")
    assert main(["convert", "--checkpoint", str(theirs), "--output", str(tmp_path / "ours")]) == 0
    pruning = read_manifest(tmp_path / "ours/conversion.json", "conversion")["pruning"]
    assert (pruning["prune_mode"], pruning["token_keep_rate"]) == ("topk", 0.2)
    config = json.loads((tmp_path / "ours/config.json").read_text())
    assert (config["model_type"], config["base_model_type"]) == ("ltp", "roberta")
    assert not {"quant_mode", "prune_kwargs"} & set(config)


def test_its_encoder_without_pruning_converts_like_any_base_model(tmp_path):
    theirs = original(tmp_path / "theirs", CASE, model_type="ibert", prune_mode=None, final_token_threshold=None)
    convert(theirs, tmp_path / "ours", PruningSettings(final_token_threshold=0.02))
    assert json.loads((tmp_path / "ours/config.json").read_text())["final_token_threshold"] == 0.02
    assert not load_file(tmp_path / "ours/model.safetensors")[THRESHOLDS].any()


@pytest.mark.parametrize(
    ("changes", "change", "message"),
    [
        ({}, lacks("classifier.out_proj.bias"), "lacks classifier.out_proj.bias; expected all weights of the"),
        ({}, lacks(THRESHOLD.format(2)), f"lacks {THRESHOLD.format(2)}; expected one in each of the 4 layers"),
        ({"num_hidden_layers": 5}, None, "lacks ibert.encoder.layer.4.attention.self.query.weight and 15 more"),
        ({"vocab_size": 99}, None, "word embeddings [120, 32], expected [99, 32] by config.json"),
        ({"hidden_size": None}, None, "config.json: lacks hidden_size; expected the file that was saved with"),
        ({"final_token_threshold": None, "prune_kwargs": None}, None, "lacks final_token_threshold, which prune_mode"),
        ({"prune_mode": "rising_threshold"}, None, "prune_mode is 'rising_threshold'; expected one of absolute_thr"),
        ({"scoring_mode": "mean_norm"}, None, "config.json: scoring_mode: 'mean_norm' is not one of mean"),
        ({"quant_mode": True}, None, "quant_mode is on; integer-only models do not convert"),
        (
            {},
            lambda weights: weights.update({THRESHOLD.format(1): np.array(np.nan, np.float32)}),
            f"{THRESHOLD.format(1)} is nan; expected a number",
        ),
        (
            {},
            lambda weights: weights.update({THRESHOLD.format(1): np.zeros(2, np.float32)}),
            f"{THRESHOLD.format(1)} is F32 [2], expected one number",
        ),
    ],
)
def test_missing_or_foreign_parts_are_one_line(tmp_path, changes, change, message):
    theirs = original(tmp_path / "theirs", CASE, **changes)
    if change:
        rewrite(theirs, change)
    with pytest.raises(LTPError) as caught:
        convert(theirs, tmp_path / "ours", PruningSettings())
    assert message in str(caught.value) and "\n" not in str(caught.value) and str(theirs) in str(caught.value)
    assert not (tmp_path / "ours/conversion.json").exists()


def test_another_way_to_prune_than_the_learned_one_is_refused(tmp_path):
    theirs = original(tmp_path / "theirs", CASE)
    with pytest.raises(LTPError, match=r"prune_mode: topk asked for, but .* was trained with absolute_threshold"):
        convert(theirs, tmp_path / "ours", PruningSettings(prune_mode="topk"))


class TestPickle:
    """The original saves pytorch_model.bin."""

    @pytest.fixture
    def pickled(self, tmp_path):
        import torch
        from safetensors.torch import load_file as load_tensors

        folder = original(tmp_path / "CKPT", CASE)
        torch.save(load_tensors(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        return folder

    def test_it_is_never_read(self, pickled, tmp_path):
        (pickled / "pytorch_model.bin").write_bytes(b"not even a pickle")
        with pytest.raises(LTPError, match=r"pytorch_model\.bin is a pickle, .*docs/from-the-original\.md shows how"):
            convert(pickled, tmp_path / "ours", PruningSettings())

    def test_the_documented_lines_save_it_anew(self, pickled, tmp_path, monkeypatch):
        text = (HERE.parents[0] / "docs/from-the-original.md").read_text()
        (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        monkeypatch.chdir(tmp_path)
        exec(compile(snippet, "docs/from-the-original.md", "exec"), {})
        convert(pickled, tmp_path / "ours", PruningSettings())
        assert (tmp_path / "ours/conversion.json").is_file()

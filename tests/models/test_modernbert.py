"""What only ModernBERT has: places after pruning, local windows, mean pooling, norms that undo soft masks."""

from __future__ import annotations

import json

import pytest
import torch
from helpers import tiny
from helpers.reference_model import forward as reference_forward
from helpers.tiny_text import save_tokenizer
from transformers import AutoModelForSequenceClassification, ModernBertConfig

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models.configuration import LTPConfig
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings

LENGTHS = [13, 4, 9, 2, 7]
NONE = PruningSettings(prune_mode="none")
POOLINGS = pytest.mark.parametrize("pooling", ["cls", "mean"])


def model_of(pooling, mode="absolute_threshold", scoring="mean"):
    base = tiny.base_model("modernbert", classifier_pooling=pooling)
    pruning = NONE if mode == "none" else tiny.PRUNING[mode]
    model = LTPForSequenceClassification.from_base(base, pruning)
    if scoring != "mean":
        model = LTPForSequenceClassification.from_base(base, PruningSettings(scoring_mode=scoring))
        model.threshold_deltas.data = torch.tensor(tiny.RELATIVE_THRESHOLDS)
    return model.double()


@POOLINGS
@pytest.mark.parametrize("left", [False, True])
def test_unpruned_is_hugging_face_s_with_padding_on_either_side(pooling, left):
    """Its positions are relative, so that padding on the left changes none of them."""
    base = tiny.base_model("modernbert", classifier_pooling=pooling)
    batch = tiny.batch(tiny.sentences([30, 13, 4, 9, 1]), extra=3, left=left)
    with torch.no_grad():
        found = LTPForSequenceClassification.from_base(base, NONE)(**batch).logits
        if left and pooling == "cls":  # it reads the first place of the row, which is padding
            alone = [base(row[None]).logits for row in tiny.sentences([30, 13, 4, 9, 1])]
            torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=0)
        else:
            torch.testing.assert_close(found, base(**batch).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", list(tiny.PRUNING))
def test_means_agree_with_one_sentence_at_a_time(mode):
    """Each sentence's mean is over the tokens that are left, in training and evaluation, in any batch."""
    model, rows = model_of("mean", mode).train(), tiny.sentences(LENGTHS)
    found = model(**tiny.batch(rows, extra=2), labels=torch.tensor([0, 1, 2, 0, 1]))
    assert found.ffn_tokens.sum() < 0.9 * 4 * sum(LENGTHS)
    found.loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    expected = [reference_forward(model, row) for row in rows]
    logits = torch.cat([one.logits for one in expected])
    torch.testing.assert_close(found.logits, logits)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad)
    with torch.no_grad():
        for row, one in zip(rows, expected, strict=True):
            torch.testing.assert_close(model.eval()(row[None]).logits, one.logits)


def test_a_local_window_is_of_the_places_at_first():
    """A token far away stays out of the window when all between are dropped."""
    model = model_of("cls", "topk")
    layer, layout = model.model.layers[1], model.layout
    places = torch.tensor([[0, 4, 5, 9]])
    assert layer.attention_type == "sliding_attention" and layout.window == 4
    bias = layout._local_window(torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8), places, places)[0, 0]
    assert (bias == 0).tolist() == [
        [True, True, False, False], [True, True, True, False], [False, True, True, True], [False, False, True, True],
    ]  # fmt: skip


def test_soft_masks_are_refused():
    model = model_of("cls")
    with pytest.raises(LTPError, match="stage soft: modernbert normalises what enters each layer") as caught:
        model.use_soft_masks(0.01)
    assert "\n" not in str(caught.value)
    model.use_soft_masks(None)


def test_positions_that_depend_on_the_batch_are_refused():
    rope = {
        kind: {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
        for kind in ("full_attention", "sliding_attention")
    }
    config = LTPConfig.from_base(ModernBertConfig(rope_parameters=rope), NONE)
    with pytest.raises(LTPError, match="rope_type: 'dynamic' makes positions depend on the longest sentence"):
        LTPForSequenceClassification(config)


def test_a_config_by_an_older_library_keeps_its_meaning(tmp_path):
    """Published ones have global_attn_every_n_layers and two thetas in the place of layer_types and rope_parameters."""
    base = tiny.base_model("modernbert", vocab_size=save_tokenizer(tmp_path / "base"))
    base.save_pretrained(tmp_path / "base")
    path = tmp_path / "base/config.json"
    config = json.loads(path.read_text())
    for key in ("layer_types", "rope_parameters"):
        del config[key]
    path.write_text(json.dumps(config | {"global_attn_every_n_layers": 2, "local_rope_theta": 500.0}))
    convert(tmp_path / "base", tmp_path / "converted", PruningSettings(final_token_threshold=0.0))
    plain, ours = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / name) for name in ("base", "converted")
    )
    batch = tiny.batch(tiny.sentences(LENGTHS)) | {}
    batch["input_ids"] = batch["input_ids"] % 20 + 2
    with torch.no_grad():
        expected = plain(**batch).logits
        torch.testing.assert_close(ours(**batch).logits, expected, atol=1e-5, rtol=0)
        assert not torch.allclose(base(**batch).logits, expected, atol=1e-3)
    assert ours.layout.types == ["full_attention", "sliding_attention"] * 2


def test_frequencies_stay_exact_in_half_precision():
    model = model_of("cls").float()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.to(torch.bfloat16)
    after = dict(model.named_buffers())
    assert before and all(torch.equal(after[name], buffer) for name, buffer in before.items())
    assert model.classifier.weight.dtype == torch.bfloat16

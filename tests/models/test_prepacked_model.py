"""A whole model on prepacked weights: what is done to it, and what is hooked on to its parts, is seen."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers import tiny

from ltp.models import prepacked_linear as linear
from ltp.models.modeling import LTPForSequenceClassification

pytestmark = pytest.mark.skipif(linear.KERNEL is None, reason="torch was built without oneDNN")


@pytest.mark.parametrize("mode", tiny.PRUNING)
def test_a_model_in_bfloat16_keeps_its_thresholds_and_nearly_its_answers(mode):
    """Medians of five random models, since a token near its threshold may go either way."""
    logits, tokens = [], []
    for seed in range(5):
        exact = tiny.pruning_model("bert", mode, seed=seed).float()
        if mode == "absolute_threshold":
            torch.manual_seed(seed)
            exact.threshold_deltas.data = 1e-3 * torch.rand(4)
        model = copy.deepcopy(exact).to(torch.bfloat16)
        assert model.rule() == exact.rule()
        batch = tiny.batch(tiny.sentences([13, 4, 9, 30, 17]))
        with torch.inference_mode():
            found, expected = model(**batch), exact(**batch)
        if torch.bfloat16 in linear.DTYPES:
            assert model.prepacked._by_layers
        logits.append(((found.logits - expected.logits).abs().max() / expected.logits.abs().max()).item())
        tokens.append((found.ffn_tokens - expected.ffn_tokens).abs().sum().item() / expected.ffn_tokens.sum().item())
    assert 0 < np.median(logits) < 0.1 and np.median(tokens) < 0.05


def test_eval_drops_prepacked_weights_whose_change_was_missed():
    """One element is likely to lie outside of the sample."""
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["absolute_threshold"])
    batch = tiny.batch(tiny.sentences([5, 9]))
    with torch.no_grad():
        before = model(**batch).logits
        model.bert.encoder.layer[0].attention.self.value.weight.data[1, 1] += 9.0
        assert torch.equal(model(**batch).logits, before)
        after = model.eval()(**batch).logits
        torch.testing.assert_close(after, copy.deepcopy(model)(**batch).logits)
    assert not torch.allclose(before, after)


def test_an_optimiser_of_the_base_that_shares_the_weights_is_noticed():
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["absolute_threshold"])
    base, batch = model.to_base(), tiny.batch(tiny.sentences([5, 9]))
    optimizer = torch.optim.AdamW(base.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        before = model(**batch).logits
    base(**batch).logits.sum().backward()
    optimizer.step()
    with torch.no_grad():
        after = model(**batch).logits
        torch.testing.assert_close(after, copy.deepcopy(model)(**batch).logits)
    assert not torch.allclose(before, after)


def test_moving_a_model_lets_go():
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["absolute_threshold"])
    with torch.no_grad():
        model(**tiny.batch(tiny.sentences([5, 9])))
        assert model.prepacked._by_layers
        assert not model.double().prepacked._by_layers
        assert model(**tiny.batch(tiny.sentences([5, 9]))).logits.dtype == torch.float64


def test_dropout_that_is_switched_on_in_evaluation_acts():
    """To draw several answers from one model."""
    base = tiny.base_model("bert", hidden_dropout_prob=0.5)
    model = LTPForSequenceClassification.from_base(base, tiny.PRUNING["topk"])
    batch = tiny.batch(tiny.sentences([9]))
    layer = model.bert.encoder.layer[0]
    for block in (layer.attention.output, layer.output):
        with torch.no_grad():
            calm = model(**batch).logits
            block.dropout.train()
            assert not torch.allclose(model(**batch).logits, calm)
            block.dropout.eval()


def test_hooks_on_the_librarys_blocks_are_called():
    model, seen = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["topk"]), []
    layer = model.bert.encoder.layer[0]
    for block in (layer.attention.output, layer.intermediate, layer.output):
        block.register_forward_hook(lambda module, inputs, output: seen.append(type(module).__name__))
    with torch.no_grad():
        model(**tiny.batch(tiny.sentences([9])))
    assert seen == ["BertSelfOutput", "BertIntermediate", "BertOutput"]


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_on_the_parts_of_a_block_are_called(register):
    model, seen = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["topk"]), []
    layer = model.bert.encoder.layer[0]
    for part in (layer.attention.output.dropout, layer.intermediate.intermediate_act_fn, layer.output.LayerNorm):
        getattr(part, register)(lambda module, *values: seen.append(type(module).__name__))
    with torch.no_grad():
        model(**tiny.batch(tiny.sentences([9])))
    assert seen == ["Dropout", "GELUActivation", "LayerNorm"]


def test_an_activation_with_a_hook_gives_what_the_hook_makes_of_it():
    model, batch = (
        LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["topk"]),
        tiny.batch(tiny.sentences([9])),
    )
    with torch.no_grad():
        before = model(**batch).logits
        activation = model.bert.encoder.layer[3].intermediate.intermediate_act_fn
        activation.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        found = model(**batch).logits
    expected = model(**batch).logits  # with gradients the library's own modules run
    assert not torch.allclose(found, before)
    torch.testing.assert_close(found, expected.detach())


def test_a_model_copies_saves_and_loads_as_before(tmp_path):
    model = LTPForSequenceClassification.from_base(tiny.base_model("roberta"), tiny.PRUNING["topk"])
    batch = tiny.batch(tiny.sentences([5, 9, 12]))
    with torch.no_grad():
        expected = model(**batch).logits
        assert model.prepacked._by_layers
        model.save_pretrained(tmp_path)
        pickled = pickle.loads(pickle.dumps(model))
        for other in (copy.deepcopy(model), pickled, LTPForSequenceClassification.from_pretrained(tmp_path)):
            assert not other.prepacked._by_layers
            torch.testing.assert_close(other(**batch).logits, expected, rtol=0, atol=0)

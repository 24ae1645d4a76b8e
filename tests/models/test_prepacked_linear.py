"""Weights laid out for inference: the same answers, never those of weights that have changed since."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helpers import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ltp.models import prepacked_linear as linear
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.prepacked_linear import MOST_ROWS, PrepackedWeights, kernel_rows, project

pytestmark = pytest.mark.skipif(linear.KERNEL is None, reason="torch was built without oneDNN")


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return [nn.Linear(24, 16), nn.Linear(24, 16), nn.Linear(24, 8)]


@pytest.fixture
def layout():
    return PrepackedWeights()


def run(layout, values, *layers, **options):
    return layout.projector(values)(values, *layers, **options)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, MOST_ROWS + 40), count=st.integers(1, 3), gelu=st.booleans(), seed=st.integers(0, 99))
def test_gives_what_the_layers_give(rows, count, gelu, seed):
    torch.manual_seed(seed)
    layout, layers = PrepackedWeights(), [nn.Linear(24, width) for width in (16, 16, 8)[:count]]
    values = torch.randn(rows, 24)
    with torch.no_grad():
        found = run(layout, values, *layers, gelu=gelu)
        assert bool(layout._known) == (rows <= MOST_ROWS)
        for mine, layer in zip(found, layers, strict=True):
            expected = layer(values)
            torch.testing.assert_close(mine, functional.gelu(expected) if gelu else expected)


@given(st.integers(1, MOST_ROWS))
def test_few_numbers_of_rows_are_filled_up_to(rows):
    filled = kernel_rows(rows)
    assert rows <= filled < rows * 1.125 and filled <= MOST_ROWS and kernel_rows(filled) == filled
    assert len({kernel_rows(count) for count in range(1, MOST_ROWS + 1)}) == 48


def test_weights_that_change_are_laid_out_anew(layout, layers):
    values, (layer, *_) = torch.randn(5, 24), layers
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)  # leaves no trace in the weights' version
    layer(values).sum().backward()

    def step():
        optimizer.step()

    def load():
        layer.load_state_dict(nn.Linear(24, 16).state_dict())

    def swap():
        layer.weight.data = torch.randn(16, 24)

    def replace():
        layer.bias = nn.Parameter(torch.randn(16))

    def infer():
        with torch.inference_mode():
            layer.weight = nn.Parameter(torch.randn(16, 24))

    def hook():
        layer.register_forward_hook(lambda module, inputs, output: output + 1)

    for change in (step, load, swap, replace, infer, hook):
        if layer.weight.is_inference():
            layer.weight = nn.Parameter(torch.randn(16, 24))
        with torch.no_grad():
            (before,) = run(layout, values, layer)
            assert layout._known
        change()
        with torch.no_grad():
            (after,) = run(layout, values, layer)
            assert not torch.allclose(before, after), change
            torch.testing.assert_close(after, layer(values))


def test_eval_lets_go_of_what_may_have_changed_unseen():
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["absolute_threshold"])
    batch = tiny.batch(tiny.sentences([5, 9]))
    with torch.no_grad():
        before = model(**batch).logits
        assert model._prepacked._known
        for weight in model.parameters():
            weight.data.mul_(1.1)  # a change through .data leaves no trace
        after = model.eval()(**batch).logits
        torch.testing.assert_close(after, copy.deepcopy(model)(**batch).logits)
    assert not torch.allclose(before, after)


def test_a_layer_that_loses_its_bias_or_gets_a_forward_pass_is_called_as_it_is(layout, layers):
    values = torch.randn(5, 24)

    def wrapped(values):
        return nn.functional.linear(values, layers[1].weight) * 2

    with torch.no_grad():
        run(layout, values, layers[0])
        run(layout, values, layers[1])
        layers[0].bias = None
        layers[1].forward = wrapped
        for layer in layers[:2]:
            torch.testing.assert_close(run(layout, values, layer)[0], layer(values))


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
        assert model._prepacked._known
        assert not model.double()._prepacked._known
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


def test_what_compiles_or_traces_sees_the_plain_layers(layout, layers, monkeypatch):
    values = torch.randn(3, 24)
    with torch.no_grad():
        assert layout.projector(values) is not project
        for where, name in ((torch.compiler, "is_compiling"), (torch.jit, "is_tracing")):
            with monkeypatch.context() as patch:
                patch.setattr(where, name, lambda: True)
                assert layout.projector(values) is project


def test_layers_together_and_alone_are_not_mixed_up(layout, layers):
    values = torch.randn(5, 24)
    with torch.no_grad():
        run(layout, values, *layers)
        torch.testing.assert_close(run(layout, values, layers[0])[0], layers[0](values))


def test_gradients_flow_where_they_are_wanted(layout, layers):
    values = torch.randn(5, 24, requires_grad=True)
    assert layout.projector(values) is project
    sum(found.sum() for found in run(layout, values, *layers)).backward()
    assert values.grad.abs().sum() > 0 and layers[2].weight.grad.abs().sum() > 0
    assert not layout._known


def in_double(layers):
    return [layer.double() for layer in layers], torch.randn(3, 24, dtype=torch.float64)


def with_hook(layers):
    layers[1].register_forward_hook(lambda module, inputs, output: output + 1)
    return layers, torch.randn(3, 24)


def of_a_kind_of_its_own(layers):
    class Adapted(nn.Linear):
        def forward(self, values):
            return super().forward(values) + 1

    layers[2] = Adapted(24, 8)
    return layers, torch.randn(3, 24)


def without_bias(layers):
    layers[0] = nn.Linear(24, 16, bias=False)
    return layers, torch.randn(3, 24)


def made_in_inference(layers):
    with torch.inference_mode():
        layers[0] = nn.Linear(24, 16)
    return layers, torch.randn(3, 24)


@pytest.mark.parametrize("make", [in_double, with_hook, of_a_kind_of_its_own, without_bias, made_in_inference])
def test_what_is_not_the_librarys_own_is_called_as_it_is(layout, layers, make):
    layers, values = make(layers)
    with torch.no_grad():
        found = run(layout, values, *layers)
        for mine, layer in zip(found, layers, strict=True):
            torch.testing.assert_close(mine, layer(values), rtol=0, atol=0)
    assert not layout._known


def test_autocast_and_the_switch_of_onednn_are_heeded(layout, layers, monkeypatch):
    values = torch.randn(3, 24)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert run(layout, values, *layers)[0].dtype == torch.bfloat16
        with torch.backends.mkldnn.flags(enabled=False):
            run(layout, values, *layers)
        monkeypatch.setattr(linear, "KERNEL", None)  # as where torch was built without it
        run(layout, values, *layers)
    assert not layout._known


def test_torchs_counter_of_operations_counts_it(layout, layers):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(layout, torch.randn(7, 24), *layers)
    assert layout._known and counter.get_total_flops() == 2 * 7 * 24 * (16 + 16 + 8)


def test_a_model_copies_saves_and_loads_as_before(tmp_path):
    model = LTPForSequenceClassification.from_base(tiny.base_model("roberta"), tiny.PRUNING["topk"])
    batch = tiny.batch(tiny.sentences([5, 9, 12]))
    with torch.no_grad():
        expected = model(**batch).logits
        assert model._prepacked._known
        model.save_pretrained(tmp_path)
        pickled = pickle.loads(pickle.dumps(model))
        for other in (copy.deepcopy(model), pickled, LTPForSequenceClassification.from_pretrained(tmp_path)):
            assert not other._prepacked._known
            torch.testing.assert_close(other(**batch).logits, expected, rtol=0, atol=0)

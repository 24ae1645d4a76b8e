"""Weights prepacked for inference: the same answers, never those of weights that have changed since."""

from __future__ import annotations

import copy

import numpy as np
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
from ltp.models.prepacked_linear import MAX_ROWS, PrepackedWeights, apply_linear, kernel_rows

pytestmark = pytest.mark.skipif(linear.KERNEL is None, reason="torch was built without oneDNN")


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return [nn.Linear(24, 16), nn.Linear(24, 16), nn.Linear(24, 8)]


@pytest.fixture
def prepacked():
    return PrepackedWeights()


def run(prepacked, values, *layers, **options):
    return prepacked.linear_function(values)(values, *layers, **options)


@pytest.mark.parametrize("dtype", linear.DTYPES)
@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 3 * MAX_ROWS), count=st.integers(1, 3), gelu=st.booleans(), seed=st.integers(0, 99))
def test_gives_what_the_layers_give(dtype, rows, count, gelu, seed):
    torch.manual_seed(seed)
    prepacked, layers = PrepackedWeights(), [nn.Linear(24, width).to(dtype) for width in (16, 16, 8)[:count]]
    values, tolerance = torch.randn(rows, 24).to(dtype), {}
    if dtype == torch.bfloat16:  # 8 bits of each output; GELU's input is rounded once more where it runs by itself
        tolerance = {"rtol": 2**-7, "atol": 2**-7}
    with torch.no_grad():
        found = run(prepacked, values, *layers, gelu=gelu)
        assert prepacked._by_layers
        for mine, layer in zip(found, layers, strict=True):
            expected = layer(values)
            torch.testing.assert_close(mine, functional.gelu(expected) if gelu else expected, **tolerance)


def test_bfloat16_where_the_processor_multiplies_it(prepacked, monkeypatch):
    """Elsewhere torch's own linear runs, which emulates it."""
    layer, values = nn.Linear(24, 16).bfloat16(), torch.randn(5, 24).bfloat16()
    with torch.no_grad():
        expected = layer(values)
        for dtypes in ((torch.float32, torch.bfloat16), (torch.float32,)):
            monkeypatch.setattr(linear, "DTYPES", dtypes)
            uses_kernel = prepacked.linear_function(values) is not apply_linear
            assert uses_kernel == (linear.ON_X86 and torch.bfloat16 in dtypes)
        torch.testing.assert_close(run(prepacked, values, layer)[0], expected)


@pytest.mark.skipif(torch.bfloat16 not in linear.DTYPES, reason="the processor emulates bfloat16")
def test_bfloat16_weights_that_change_are_prepacked_anew(prepacked):
    layer, values = nn.Linear(24, 16).bfloat16(), torch.randn(5, 24).bfloat16()

    def negate():
        layer.weight.data.neg_()

    def double():
        layer.bias.mul_(2.0)

    with torch.no_grad():
        for change in (negate, double):
            before = run(prepacked, values, layer)[0]
            assert prepacked._by_layers
            change()
            after = run(prepacked, values, layer)[0]
            assert not torch.equal(before, after)
            torch.testing.assert_close(after, layer(values), rtol=2**-7, atol=2**-7)


@given(st.integers(1, MAX_ROWS))
def test_few_numbers_of_rows_are_filled_up_to(rows):
    filled = kernel_rows(rows)
    assert rows <= filled < rows * 1.125 and filled <= MAX_ROWS and kernel_rows(filled) == filled
    assert len({kernel_rows(count) for count in range(1, MAX_ROWS + 1)}) == 48


def test_weights_that_change_are_prepacked_anew(prepacked, layers):
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
            (before,) = run(prepacked, values, layer)
            assert prepacked._by_layers
        change()
        with torch.no_grad():
            (after,) = run(prepacked, values, layer)
            assert not torch.allclose(before, after), change
            torch.testing.assert_close(after, layer(values))


def scaled(weight):
    weight.data.mul_(1.1)


def averaged_in_numpy(weight):
    array = weight.detach().numpy()
    array += np.random.default_rng(0).normal(size=array.shape).astype("float32")


def merged_adapter(weight):
    if weight.ndim == 2:  # as LoRA merges: a product of two narrow matrices
        weight.data += torch.randn(weight.shape[0], 2) @ torch.randn(2, weight.shape[1])


def magnitude_pruned(weight):
    weight.data[weight.data.abs() < weight.data.abs().median()] = 0.0


@pytest.mark.parametrize(
    ("change", "which"),
    [
        *(
            (change, which)
            for change in (scaled, averaged_in_numpy, magnitude_pruned)
            for which in ("all", "one weight")
        ),
        *((change, "one bias") for change in (scaled, averaged_in_numpy)),
        (merged_adapter, "all"),
        (merged_adapter, "one weight"),
    ],
)
def test_writes_that_torch_does_not_count_are_noticed(change, which):
    """Through ``.data`` and numpy: they leave the weights' version as it is."""
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), tiny.PRUNING["topk"])
    batch = tiny.batch(tiny.sentences([5, 9]))
    dense = model.bert.encoder.layer[2].intermediate.dense
    dense.bias.data.normal_()
    with torch.no_grad():
        before = model(**batch).logits
        assert model.prepacked._by_layers
        weights = model.bert.encoder.parameters() if which == "all" else [getattr(dense, which.split()[1])]
        for weight in weights:
            change(weight)
        after = model(**batch).logits
        torch.testing.assert_close(after, copy.deepcopy(model)(**batch).logits)
    assert not torch.allclose(before, after)


def test_a_layer_that_loses_its_bias_or_gets_a_forward_pass_is_called_as_it_is(prepacked, layers):
    values = torch.randn(5, 24)

    def wrapped(values):
        return nn.functional.linear(values, layers[1].weight) * 2

    with torch.no_grad():
        run(prepacked, values, layers[0])
        run(prepacked, values, layers[1])
        layers[0].bias = None
        layers[1].forward = wrapped
        for layer in layers[:2]:
            torch.testing.assert_close(run(prepacked, values, layer)[0], layer(values))


def test_what_compiles_or_traces_sees_the_plain_layers(prepacked, layers, monkeypatch):
    values = torch.randn(3, 24)
    with torch.no_grad():
        assert prepacked.linear_function(values) is not apply_linear
        for where, name in ((torch.compiler, "is_compiling"), (torch.jit, "is_tracing")):
            with monkeypatch.context() as patch:
                patch.setattr(where, name, lambda: True)
                assert prepacked.linear_function(values) is apply_linear


def test_layers_together_and_alone_are_not_mixed_up(prepacked, layers):
    values = torch.randn(5, 24)
    with torch.no_grad():
        run(prepacked, values, *layers)
        torch.testing.assert_close(run(prepacked, values, layers[0])[0], layers[0](values))


def test_gradients_flow_where_they_are_wanted(prepacked, layers):
    values = torch.randn(5, 24, requires_grad=True)
    assert prepacked.linear_function(values) is apply_linear
    sum(found.sum() for found in run(prepacked, values, *layers)).backward()
    assert values.grad.abs().sum() > 0 and layers[2].weight.grad.abs().sum() > 0
    assert not prepacked._by_layers


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
def test_what_is_not_the_librarys_own_is_called_as_it_is(prepacked, layers, make):
    layers, values = make(layers)
    with torch.no_grad():
        found = run(prepacked, values, *layers)
        for mine, layer in zip(found, layers, strict=True):
            torch.testing.assert_close(mine, layer(values), rtol=0, atol=0)
    assert not prepacked._by_layers


def test_autocast_and_the_switch_of_onednn_are_heeded(prepacked, layers, monkeypatch):
    values = torch.randn(3, 24)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert run(prepacked, values, *layers)[0].dtype == torch.bfloat16
        with torch.backends.mkldnn.flags(enabled=False):
            run(prepacked, values, *layers)
        monkeypatch.setattr(linear, "KERNEL", None)  # as where torch was built without it
        run(prepacked, values, *layers)
    assert not prepacked._by_layers


def test_torchs_counter_of_operations_counts_it(prepacked, layers):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(prepacked, torch.randn(7, 24), *layers)
    assert prepacked._by_layers and counter.get_total_flops() == 2 * 7 * 24 * (16 + 16 + 8)


def test_training_in_bf16_gives_oneDNN_few_numbers_of_rows_and_the_same_gradients():
    torch.manual_seed(0)
    layers = [nn.Linear(16, 24), nn.Linear(16, 8)]
    seen = set()
    for layer in layers:
        layer.register_forward_hook(lambda layer, given, output: seen.add(given[0].shape[0]))

    def gradients(function, rows: int) -> list[torch.Tensor]:
        values = torch.randn(rows, 16, generator=torch.Generator().manual_seed(rows), requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = function(values, *layers, gelu=True)
        assert [output.shape for output in outputs] == [(rows, 24), (rows, 8)]
        sum(output.float().square().sum() for output in outputs).backward()
        found = [values.grad, *(parameter.grad for layer in layers for parameter in layer.parameters())]
        for layer in layers:
            layer.zero_grad()
        return found

    with torch.autocast("cpu", torch.bfloat16):
        function = PrepackedWeights().linear_function(torch.ones(1, 16))
    padded = [gradients(function, rows) for rows in range(100, 140)]
    assert seen == {kernel_rows(rows) for rows in range(100, 140)}
    for rows, found in zip(range(100, 140), padded, strict=True):
        for value, plain in zip(found, gradients(apply_linear, rows), strict=True):
            torch.testing.assert_close(value, plain, rtol=0.02, atol=0.02 * plain.abs().max().item())
    assert PrepackedWeights().linear_function(torch.ones(1, 16)) is apply_linear  # fp32 trains as it did

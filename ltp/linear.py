"""Linear layers in inference on CPUs: weights laid out once in the order in which the kernel reads them.

torch's own linear puts the weights in that order at every call. Where few rows use them, as with one sentence at a
time, that costs as much as the product itself, and pruning, which leaves fewer rows, would save nothing of it.

Shapes: T rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

# What torch's own compiler calls for such layers; not in every build of it.
KERNEL = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
LAY_OUT = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
# Above so many rows laying out no longer counts.
MOST_ROWS = 256
# oneDNN compiles a kernel for each number of rows and shape of weights, half a millisecond and half a megabyte each. So
# rows are filled up to one of eight numbers in each doubling: at most 48 kernels a shape, for 4 % more rows on average.
SIZES_A_DOUBLING = 8

# (values (T, I), the layers that read them, gelu=whether GELU comes after) -> (T, O) of each layer
Project = Callable[..., Sequence[Tensor]]


def project(values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
    """``values`` (T, I) through each of the layers that read them, and GELU on request -> (T, O) of each."""
    found = [layer(values) for layer in layers]
    return list(map(functional.gelu, found)) if gelu else found


@dataclass(frozen=True)
class _Known:
    """Layers side by side, laid out: what their weights were then, weight (O, I), bias (O,), and each one's O."""

    state: tuple[Any, ...]
    weight: Tensor
    bias: Tensor
    widths: list[int]


class Layout:
    """The weights of a model's linear layers as they are laid out. It is not part of the model: copies begin empty."""

    def __init__(self) -> None:
        self._known: dict[tuple[nn.Module, ...], _Known] = {}  # by the layers that read the same values

    def __reduce__(self) -> tuple[type, tuple]:
        return Layout, ()

    def forget(self) -> None:
        """Let go of everything: weights may have changed without a trace."""
        self._known.clear()

    def projector(self, values: Tensor) -> Project:
        """How to run layers on values like these, until the forward pass ends: `project`, or faster.

        With gradients everything is let go: the weights are about to change, and a fused optimiser leaves no trace.
        """
        if torch.is_grad_enabled():
            self.forget()
        if not _fits(values):
            return project
        for layers, known in list(self._known.items()):
            if known.state != _state(layers):
                del self._known[layers]
        return self._project

    def _project(self, values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
        rows = values.shape[0]
        if rows > MOST_ROWS:
            return project(values, *layers, gelu=gelu)
        known = self._known.get(layers)
        if known is None:
            if not all(map(_is_plain, layers)):
                return project(values, *layers, gelu=gelu)
            known = self._known[layers] = _lay_out(layers)
        activation = ("gelu", [], "none") if gelu else ("none", [], "")  # "none": not the approximation by tanh
        filled = kernel_rows(rows)
        if filled > rows:
            values = functional.pad(values, (0, 0, 0, filled - rows))
        found = KERNEL(values, known.weight, known.bias, *activation)[:rows]
        return found.split(known.widths, -1) if len(layers) > 1 else (found,)


def kernel_rows(rows: int) -> int:
    """The number of rows, at least these, that there is a kernel for."""
    step = max(1, (1 << rows.bit_length() - 1) // SIZES_A_DOUBLING)
    return -(-rows // step) * step


def _fits(values: Tensor) -> bool:
    """Whether torch has the kernel here, and nothing but the product's value is wanted."""
    return (
        values.device.type == "cpu"
        and values.dtype == torch.float32
        and type(values) is Tensor  # no stand-in that records what is done
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and None not in (KERNEL, LAY_OUT)
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer is the library's own, in float32; not one with adapters, hooks or 8 bits."""
    return (
        type(layer) is nn.Linear
        and layer.weight.dtype == torch.float32
        and layer.bias is not None
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        and not layer.weight.is_inference()  # such a tensor does not tell when it changes
    )


def _lay_out(layers: Sequence[nn.Linear]) -> _Known:
    weight, bias = (torch.cat([layer._parameters[name] for layer in layers]) for name in ("weight", "bias"))
    laid_out = LAY_OUT(weight)
    return _Known(_state(layers), laid_out, bias, [layer.out_features for layer in layers])


def _state(layers: Sequence[nn.Linear]) -> tuple[Any, ...]:
    """What changes when a layer's weights do, or when someone hooks on to it."""
    state: list[Any] = []
    for layer in layers:
        state += (bool(layer._forward_hooks), bool(layer._forward_pre_hooks))
        for tensor in layer._parameters.values():  # past the modules' slow look-up of attributes
            state += (tensor.data_ptr(), tensor._version)
    return tuple(state)


def _flops(values: Sequence[int], weight: Sequence[int], *rest: object, **options: object) -> int:
    """For torch's counter of operations, which does not know the kernel: shapes (T, I) and (O, I)."""
    return 2 * values[0] * weight[0] * weight[1]


if KERNEL is not None:
    register_flop_formula(KERNEL)(_flops)

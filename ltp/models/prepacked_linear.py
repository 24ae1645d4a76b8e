"""Linear layers in inference on CPUs, with weights prepacked: copied once into the memory layout of oneDNN's kernel.

torch's own linear does that copy at every call. With few rows, as for one sentence at a time, the copy costs as much as
the matrix product, whatever the number of rows, so the rows that pruning saves would save little time.

In float32, and in bfloat16 where the processor multiplies it (``model.to(torch.bfloat16)``), which does more arithmetic
a second on half the bytes. Products are summed in float32 and rounded once.

Shapes: T rows, I inputs, O outputs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import flop_registry, register_flop_formula

from ltp.models.scores import head_gram

# What torch's own compiler calls for such layers; not in every build of torch.
KERNEL: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
PREPACK: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")  # whether it is faster elsewhere has not been measured
MAX_ROWS = 256  # of one call of the kernel; more rows are given to it in blocks
# oneDNN compiles a kernel for each number of rows and shape of weights, half a millisecond and half a megabyte each. So
# rows are padded to one of eight sizes between powers of two: at most 48 kernels a shape, for 4 % more rows on average.
SIZES_PER_DOUBLING = 8
SAMPLES_PER_AXIS = 4  # elements of a bias, rows and columns of a weight, that are compared in each forward pass


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; others emulate it, slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


DTYPES = (torch.float32, torch.bfloat16) if ON_X86 and has_bfloat16() else (torch.float32,)
_PLAIN = (nn.Linear, nn.Embedding, nn.LayerNorm)  # layers whose weights say all that they compute
# The type of `apply_linear` and of what PrepackedWeights.linear_function returns.
LinearFunction = Callable[..., Sequence[Tensor]]


def apply_linear(values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
    """``values`` (T, I) through each of ``layers``, with ``gelu`` through GELU after it -> (T, O) of each."""
    outputs = [layer(values) for layer in layers]
    return list(map(functional.gelu, outputs)) if gelu else outputs


def apply_padded_linear(values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
    """`apply_linear` with the rows padded to one of few sizes, forwards and backwards.

    oneDNN compiles a kernel for each number of rows, and while training with tokens removed no two are alike.
    """
    rows = values.shape[0]
    padded = functional.pad(values, (0, 0, 0, kernel_rows(rows) - rows))
    outputs = [layer(padded)[:rows] for layer in layers]
    return list(map(functional.gelu, outputs)) if gelu else outputs


@dataclass(frozen=True)
class _Derived:
    """What was computed from the weights of some layers, all of ``dtype``.

    ``state`` is `_state` of the layers when it was. ``samples`` are views into their weights and the bytes that these
    held then; the views also keep that memory alive, so that no new tensor can reuse its address (``data_ptr``) and be
    taken for the old one.
    """

    state: tuple[Any, ...]
    samples: list[tuple[np.ndarray, bytes]]
    dtype: torch.dtype

    def is_current(self, layers: Sequence[nn.Module]) -> bool:
        """Whether the layers' weights are those that it was computed from, as far as can be seen cheaply."""
        return self.state == _state(layers, self.dtype) and all(
            view.tobytes() == before for view, before in self.samples
        )


@dataclass(frozen=True)
class _Prepacked(_Derived):
    """Layers with the same input as one product: prepacked weight (O, I), bias (O,) or None, and each layer's O."""

    weight: Tensor
    bias: Tensor | None
    widths: list[int]


@dataclass(frozen=True)
class _Computed(_Derived):
    """What was computed from weights alone."""

    value: Tensor


class PrepackedWeights:
    """The prepacked weights of a model, and what is computed from weights alone.

    Not part of the model's state: copies start without any.

    Each forward pass checks that the weights are still those that were prepacked. It notices an optimiser's step,
    ``load_state_dict``, operations in place and other tensors in their place. Writes that torch does not count, such as
    ``weight.data.mul_()`` or through numpy, are noticed by a sample of some 16 elements of each weight and 4 of each
    bias: weight averaging, merging adapters and adding noise change all of them. A write to a few elements can be
    missed: call `clear` after it, or the model's ``eval()``, which does.
    """

    def __init__(self) -> None:
        self._by_layers: dict[tuple[nn.Module, ...], _Prepacked] = {}  # keys: layers that are given the same values
        self._computed: dict[tuple[nn.Module, ...], _Computed] = {}

    def __reduce__(self) -> tuple[type, tuple]:
        return PrepackedWeights, ()

    def clear(self) -> None:
        """Drop all prepacked weights; the next forward pass prepacks anew."""
        self._by_layers.clear()
        self._computed.clear()

    def linear_function(self, values: Tensor) -> LinearFunction:
        """What one forward pass runs linear layers with, for values like these: `apply_linear`, or a faster equal."""
        if torch.compiler.is_compiling():
            return apply_linear
        # With gradients, weights are about to change. Where one has changed, so may have others outside of the samples.
        derived = [*self._by_layers.items(), *self._computed.items()]
        if torch.is_grad_enabled() or not all(one.is_current(layers) for layers, one in derived):
            self.clear()
        if torch.is_grad_enabled() and values.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            return apply_padded_linear
        return self._apply if _is_supported(values) else apply_linear

    def head_gram(self, layer: nn.Module, heads: int) -> Tensor:
        """scores.head_gram of an attention's output projection, without gradient; computed once in inference."""
        return self.computed((layer,), lambda: head_gram(layer.weight.detach(), heads))

    def computed(self, layers: tuple[nn.Module, ...], compute: Callable[[], Tensor]) -> Tensor:
        """What ``compute`` makes of the weights of ``layers`` and nothing else; in inference it is called once."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.jit.is_tracing():
            return compute()
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):  # the precision may change
            return compute()
        kept = self._computed.get(layers)
        if kept is None:
            value, dtype = compute(), layers[0].weight.dtype
            if (state := _state(layers, dtype)) is None:
                return value
            kept = self._computed[layers] = _Computed(state, _samples(layers), dtype, value)
        return kept.value

    def _apply(self, values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
        """`apply_linear` for supported values."""
        prepacked = self._by_layers.get(layers)
        if prepacked is None:
            if (state := _linear_state(layers, values.dtype)) is None:
                return apply_linear(values, *layers, gelu=gelu)
            prepacked = self._by_layers[layers] = _prepack(layers, state)
        rows = values.shape[0]
        if rows <= MAX_ROWS:
            outputs = _product(values, prepacked, gelu)
        else:
            block_rows = -(-rows // -(-rows // MAX_ROWS))  # as few blocks as possible, all of about one size
            outputs = torch.cat([_product(block, prepacked, gelu) for block in values.split(kernel_rows(block_rows))])
        return outputs.split(prepacked.widths, -1) if len(layers) > 1 else (outputs,)


def _product(values: Tensor, prepacked: _Prepacked, gelu: bool) -> Tensor:
    """One call of the kernel: (T, I) with T at most MAX_ROWS -> (T, O)."""
    # "none" is also GELU's exact form, not its approximation by tanh.
    activation: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")
    rows = values.shape[0]
    padded = kernel_rows(rows)
    if padded > rows:
        values = functional.pad(values, (0, 0, 0, padded - rows))
    return KERNEL(values, prepacked.weight, prepacked.bias, *activation)[:rows]


def kernel_rows(rows: int) -> int:
    """The number of rows that ``rows`` (at least 1) are padded to."""
    step = max(1, (1 << rows.bit_length() - 1) // SIZES_PER_DOUBLING)
    return -(-rows // step) * step


def _is_supported(values: Tensor) -> bool:
    """Whether the kernel exists here and is fast for such values, and neither gradients nor a trace are recorded."""
    return bool(
        values.device.type == "cpu"
        and values.dtype in DTYPES
        and type(values) is Tensor  # not a subclass that records operations
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and ON_X86
        and None not in (KERNEL, PREPACK)
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


def _linear_state(layers: Sequence[nn.Module], dtype: torch.dtype) -> tuple[Any, ...] | None:
    """`_state` of linear layers, all with a bias or all without; None for others."""
    if any(type(layer) is not nn.Linear for layer in layers):
        return None
    return _state(layers, dtype) if len({layer._parameters["bias"] is None for layer in layers}) == 1 else None


def _state(layers: Sequence[nn.Module], dtype: torch.dtype) -> tuple[Any, ...] | None:
    """Identities and versions of the layers' weights; None for layers from which nothing can be derived once.

    Those are all but plain ones in ``dtype`` on the CPU: adapters, other weight classes, hooks, and a ``forward``
    replaced on the instance keep their own call.
    """
    state: list[Any] = [_steps]
    for layer in layers:
        if type(layer) not in _PLAIN or is_wrapped(layer):
            return None
        for tensor in layer._parameters.values():  # layer.weight is slow: modules look attributes up in Python
            if tensor is None:  # no bias
                continue
            if type(tensor) is not nn.Parameter or tensor.dtype != dtype or tensor.device.type != "cpu":
                return None
            if tensor.is_inference():  # such tensors have no version counter
                return None
            state += (tensor.data_ptr(), tensor._version)
    return tuple(state)


def _prepack(layers: Sequence[nn.Module], state: tuple[Any, ...]) -> _Prepacked:
    weights = [layer._parameters["weight"].detach() for layer in layers]
    biases = [layer._parameters["bias"].detach() for layer in layers if layer._parameters["bias"] is not None]
    widths = [weight.shape[0] for weight in weights]
    bias = torch.cat(biases) if biases else None
    return _Prepacked(state, _samples(layers), weights[0].dtype, PREPACK(torch.cat(weights)), bias, widths)


def _samples(layers: Sequence[nn.Module]) -> list[tuple[np.ndarray, bytes]]:
    """Views into a few elements of each weight and bias, and the bytes that they hold now."""
    tensors = [layer._parameters.get(name) for name in ("weight", "bias") for layer in layers]
    views = [_sample(tensor.detach()) for tensor in tensors if tensor is not None]
    return [(view, view.tobytes()) for view in views]


def _sample(tensor: Tensor) -> np.ndarray:
    """A view of a few elements, evenly spaced along each axis; numpy has no bfloat16, so those are read as integers."""
    array = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array[tuple(slice(None, None, max(1, size // SAMPLES_PER_AXIS)) for size in array.shape)]


def is_wrapped(module: nn.Module) -> bool:
    """Whether calling the module does more than its class's ``forward``: hooks, or a ``forward`` of its own."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


_steps = 0  # of all optimisers so far: fused ones change weights without raising their version


def _count_step(*_: Any) -> None:
    global _steps
    _steps += 1


register_optimizer_step_post_hook(_count_step)


def _flops(values: Sequence[int], weight: Sequence[int], *rest: object, **options: object) -> int:
    """FLOPs of the kernel for torch.utils.flop_counter, from the shapes (T, I) and (O, I)."""
    return 2 * values[0] * weight[0] * weight[1]


if KERNEL is not None and KERNEL not in flop_registry:
    register_flop_formula(KERNEL)(_flops)

"""Linear layers in inference on CPUs: weights laid out once in the order in which the kernel reads them.

torch's own linear puts the weights in that order at every call. Where few rows use them, as with one sentence at a
time, that costs as much as the product itself, and pruning, which leaves fewer rows, would save nothing of it.

Shapes: T rows, I inputs, O outputs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import flop_registry, register_flop_formula

# What torch's own compiler calls for such layers; not in every build of it.
KERNEL = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
PREPACK = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
MEASURED = platform.machine().lower() in ("x86_64", "amd64")  # what it gains elsewhere is not known
# Above so many rows laying out no longer counts.
MOST_ROWS = 256
# oneDNN compiles a kernel for each number of rows and shape of weights, half a millisecond and half a megabyte each. So
# rows are filled up to one of eight numbers in each doubling: at most 48 kernels a shape, for 4 % more rows on average.
SIZES_A_DOUBLING = 8

# What `project` is, and what a PrepackedWeights gives in its place.
Project = Callable[..., Sequence[Tensor]]


def project(values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
    """``values`` (T, I) through each of the layers that read them, and GELU on request -> (T, O) of each."""
    found = [layer(values) for layer in layers]
    return list(map(functional.gelu, found)) if gelu else found


@dataclass(frozen=True)
class _Prepacked:
    """Layers side by side, laid out: weight (O, I), bias (O,), and each layer's O.

    ``state`` tells whether the layers are still what they were; ``originals`` keeps their memory from being given to
    other weights meanwhile, which could not be told apart.
    """

    state: tuple[Any, ...]
    originals: list[Tensor]
    weight: Tensor
    bias: Tensor
    widths: list[int]


class PrepackedWeights:
    """The weights of a model's linear layers as they are laid out. It is not part of the model: copies begin empty.

    A change of the weights is noticed where it leaves a trace: an optimiser's step, ``load_state_dict``, operations in
    place, other tensors in their place. What is written through ``weight.data`` leaves none; `forget` after that, which
    a model does at each ``train()`` and ``eval()``.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[nn.Module, ...], _Prepacked] = {}  # by the layers that read the same values

    def __reduce__(self) -> tuple[type, tuple]:
        return PrepackedWeights, ()

    def forget(self) -> None:
        """Let go of everything that is laid out."""
        self._known.clear()

    def projector(self, values: Tensor) -> Project:
        """How to run layers on values like these, until the forward pass ends: `project`, or faster."""
        if torch.compiler.is_compiling():
            return project
        for layers, known in list(self._known.items()):
            if torch.is_grad_enabled() or known.state != _state(layers):  # with gradients, weights are about to change
                self._known.pop(layers, None)
        return self._project if _fits(values) else project

    def _project(self, values: Tensor, *layers: nn.Module, gelu: bool = False) -> Sequence[Tensor]:
        """`project` for values that fit."""
        rows = values.shape[0]
        known = self._known.get(layers) if rows <= MOST_ROWS else None
        if known is None:
            if rows > MOST_ROWS or (state := _state(layers)) is None:
                return project(values, *layers, gelu=gelu)
            known = self._known[layers] = _prepack(layers, state)
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
        and not torch.jit.is_tracing()
        and MEASURED
        and None not in (KERNEL, PREPACK)
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


def _state(layers: Sequence[nn.Module]) -> tuple[Any, ...] | None:
    """What changes when the layers' weights do; None where a layer is not the library's own, in float32, on the CPU.

    Its own: not one with adapters, hooks, a forward pass put in the place of its own, or weights of another kind.
    """
    state: list[Any] = [_steps]
    for layer in layers:
        if type(layer) is not nn.Linear or layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
            return None
        for tensor in layer._parameters.values():  # past the modules' slow look-up of attributes
            if type(tensor) is not nn.Parameter or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                return None
            if tensor.is_inference():  # such a tensor does not count its changes
                return None
            state += (tensor.data_ptr(), tensor._version)
    return tuple(state)


def _prepack(layers: Sequence[nn.Module], state: tuple[Any, ...]) -> _Prepacked:
    weights, biases = ([layer._parameters[name].detach() for layer in layers] for name in ("weight", "bias"))
    widths = [weight.shape[0] for weight in weights]
    return _Prepacked(state, weights + biases, PREPACK(torch.cat(weights)), torch.cat(biases), widths)


_steps = 0  # that any optimiser took: a fused one changes weights without counting it in them


def _count_step(*_: Any) -> None:
    global _steps
    _steps += 1


register_optimizer_step_post_hook(_count_step)


def _flops(values: Sequence[int], weight: Sequence[int], *rest: object, **options: object) -> int:
    """For torch's counter of operations, which does not know the kernel: shapes (T, I) and (O, I)."""
    return 2 * values[0] * weight[0] * weight[1]


if KERNEL is not None and KERNEL not in flop_registry:
    register_flop_formula(KERNEL)(_flops)

"""The library's blocks of a layer that work on each token by itself, with faster linear layers where there are some.

Shapes: T tokens in the batch, H hidden, I intermediate.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import GELUActivation

from ltp.models.prepacked_linear import LinearFunction, apply_linear, is_wrapped


def intermediate(linear: LinearFunction, block: nn.Module, values: Tensor) -> Tensor:
    """The library's block of linear layer and activation: (T, H) -> (T, I)."""
    if _runs_whole(linear, block):
        return block(values)
    activation = block.intermediate_act_fn
    if type(activation) is GELUActivation and not is_wrapped(activation):
        return linear(values, block.dense, gelu=True)[0]
    return activation(linear(values, block.dense)[0])


def add_and_norm(linear: LinearFunction, block: nn.Module, values: Tensor, residual: Tensor) -> Tensor:
    """The library's block of linear layer, dropout and LayerNorm around a residual: (T, I) and (T, H) -> (T, H)."""
    if _runs_whole(linear, block):
        return block(values, residual)
    (output,) = linear(values, block.dense)
    if block.dropout.training or is_wrapped(block.dropout):
        output = block.dropout(output)
    return block.LayerNorm(output + residual)


def _runs_whole(linear: LinearFunction, block: nn.Module) -> bool:
    """Whether the library's block must run as a whole: there is no faster kernel for its parts, or it has hooks."""
    return linear is apply_linear or is_wrapped(block)

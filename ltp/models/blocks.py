"""The parts of an encoder layer round its linear layers: attention, activation, dropout, residual and LayerNorm.

Shapes: T tokens in the batch, K of them queries, H hidden, A heads, D = H/A per head, I intermediate.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from transformers.activations import GELUActivation

from ltp.models.attention import AttentionBias, packed_attention
from ltp.models.packing import PackedTokens, Queries
from ltp.models.prepacked_linear import LinearFunction, apply_linear, is_wrapped
from ltp.models.scores import value_norms


@dataclass
class Wanted:
    """What the loop wants of one layer's attention.

    ``return_received``: a score of each token, which is the attention that it receives; with the Gram matrices ``gram``
    (A, D, D) of the output projection, what it contributes. ``differentiable``: whether the scores are to have
    gradients. ``gates`` (T,) are added to the scores of all queries with each token's key. ``queries``: the K tokens
    whose context is wanted, None for all; not with ``return_received``.
    """

    return_received: bool = False
    gram: Tensor | None = None
    differentiable: bool = False
    gates: Tensor | None = None
    queries: Queries | None = None


def project(
    linear: LinearFunction, modules: tuple[nn.Module, ...], hidden: Tensor, queries: Queries | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (T, H) of ``hidden`` (T, H); queries (K, H) of the tokens ``queries``, if given.

    ``modules`` are the three projections, or one that makes all three.
    """
    if len(modules) == 1:
        query, key, value = linear(hidden, *modules)[0].chunk(3, -1)
        return query if queries is None else query.index_select(0, queries.rows), key, value
    if queries is None:
        query, key, value = linear(hidden, *modules)
        return query, key, value
    (query,) = linear(hidden.index_select(0, queries.rows), modules[0])
    key, value = linear(hidden, *modules[1:])
    return query, key, value


def attend(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, heads: int, dropout: float, wanted: Wanted,
    bias: AttentionBias | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Attention of projected tokens: context (T, H), or (K, H) of the queries, and each token's score (T,) or None."""
    norms = None if wanted.gram is None else value_norms(value.detach(), wanted.gram)  # (T, A)
    return packed_attention(
        query, key, value, tokens.seq_ids, tokens.lengths, heads, dropout, wanted.return_received, norms=norms,
        bias=bias, positions=tokens.positions, width=tokens.width, differentiable=wanted.differentiable,
        gates=wanted.gates, queries=None if wanted.queries is None else wanted.queries.tokens,
    )  # fmt: skip


def intermediate(linear: LinearFunction, block: nn.Module, values: Tensor) -> Tensor:
    """The library's block of linear layer and activation: (T, H) -> (T, I)."""
    if _runs_whole(linear, block):
        return block(values)
    return widen(linear, block.dense, block.intermediate_act_fn, values)


def widen(linear: LinearFunction, dense: nn.Module, activation: nn.Module, values: Tensor) -> Tensor:
    """A linear layer and an activation, in one where that is a plain GELU: (T, H) -> (T, I)."""
    if type(activation) is GELUActivation and not is_wrapped(activation):
        return linear(values, dense, gelu=True)[0]
    return activation(linear(values, dense)[0])


def add_and_norm(linear: LinearFunction, block: nn.Module, values: Tensor, residual: Tensor) -> Tensor:
    """The library's block of linear layer, dropout and LayerNorm around a residual: (T, I) and (T, H) -> (T, H)."""
    if _runs_whole(linear, block):
        return block(values, residual)
    (output,) = linear(values, block.dense)
    return block.LayerNorm(dropped(block.dropout, output) + residual)


def dropped(dropout: nn.Module, values: Tensor) -> Tensor:
    """Dropout, called only where it does something."""
    return dropout(values) if dropout.training or is_wrapped(dropout) else values


def _runs_whole(linear: LinearFunction, block: nn.Module) -> bool:
    """Whether the library's block must run as a whole: there is no faster kernel for its parts, or it has hooks."""
    return linear is apply_linear or is_wrapped(block)

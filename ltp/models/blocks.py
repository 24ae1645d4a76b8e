"""The parts of an encoder layer round its linear layers: attention, activation, dropout, residual and LayerNorm.

Shapes: T tokens in the batch, B sentences, H hidden, A heads, D = H/A per head, I intermediate.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import GELUActivation

from ltp.models.attention import first_token_attention, packed_attention
from ltp.models.packing import PackedTokens, sequence_starts
from ltp.models.prepacked_linear import LinearFunction, apply_linear, is_wrapped
from ltp.models.scores import value_norms


def attend(
    linear: LinearFunction, block: nn.Module, tokens: PackedTokens, heads: int, return_received: bool,
    gram: Tensor | None = None, first_only: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Self-attention with its projections: context (T, H) and, with ``return_received``, a score of each token (T,).

    ``block`` holds ``query``, ``key`` and ``value``. The score is the attention that the token receives; with the Gram
    matrices ``gram`` (A, D, D) of the output projection, what it contributes. ``first_only``: the context (B, H) of the
    first tokens only.
    """
    dropout = block.dropout.p if block.training else 0.0
    seq_ids, lengths = tokens.seq_ids, tokens.lengths
    if first_only:
        (query,) = linear(tokens.hidden.index_select(0, sequence_starts(lengths)), block.query)
        key, value = linear(tokens.hidden, block.key, block.value)
        return first_token_attention(query, key, value, seq_ids, lengths, heads, dropout), None
    query, key, value = linear(tokens.hidden, block.query, block.key, block.value)
    norms = None if gram is None else value_norms(value.detach(), gram)  # (T, A)
    return packed_attention(query, key, value, seq_ids, lengths, heads, dropout, return_received, norms)


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

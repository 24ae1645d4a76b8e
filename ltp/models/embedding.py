"""From padded token ids to packed embeddings.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltp.common.errors import LTPError
from ltp.models.layouts.layout import Layout
from ltp.models.packing import PackedTokens, count_tokens


def embed(
    layout: Layout, encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None
) -> PackedTokens:
    """The base model's embeddings of all valid tokens (T, H), from ids, mask and segments (B, N).

    Positions count valid tokens only. Raises LTPError for a sentence without tokens.
    """
    valid = attention_mask.reshape(-1) != 0
    indices = valid.nonzero().squeeze(1)  # (T,)
    seq_ids = torch.div(indices, input_ids.shape[1], rounding_mode="floor")
    positions = (attention_mask != 0).long().cumsum(1).reshape(-1).index_select(0, indices) - 1
    ids = input_ids.reshape(-1).index_select(0, indices)
    types = None if token_type_ids is None else token_type_ids.reshape(-1).index_select(0, indices)
    hidden = layout.embed(encoder, ids, torch.zeros_like(ids) if types is None else types, positions)
    lengths = count_tokens(seq_ids, input_ids.shape[0])
    require_tokens(lengths)
    protected = None
    if layout.config.protected_until is not None:
        protected = protected_lengths(input_ids, attention_mask, layout.config.protected_until)
    places = positions if layout.needs_positions else None
    width = input_ids.shape[1] if hidden.is_cuda else None
    return PackedTokens(hidden, seq_ids, lengths, protected, indices, places, width)


def require_tokens(lengths: Tensor) -> None:
    """Raise LTPError where one of the ``lengths`` (B,) is 0."""
    if not lengths.all():
        row = int((lengths == 0).nonzero()[0])
        raise LTPError(f"attention_mask: row {row} has no real token; expected at least one in each sentence")


def protected_lengths(input_ids: Tensor, attention_mask: Tensor, end: int) -> Tensor:
    """(B,) tokens up to the first one with the id ``end``, of ids and mask (B, N); all of a sentence without one."""
    valid = attention_mask != 0
    ends = (input_ids == end) & valid
    return (valid & (ends.cumsum(1) - ends.long() == 0)).sum(1)

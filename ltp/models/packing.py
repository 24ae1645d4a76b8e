"""Packed tokens: the batch's real tokens in one row each, no padding. Pure functions.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class PackedTokens:
    """The tokens still alive, sentence after sentence, each sentence in order and its first token first."""

    hidden: Tensor  # (T, H)
    seq_ids: Tensor  # (T,) index of the sentence that each token belongs to, rising
    lengths: Tensor  # (B,) tokens of each sentence
    indices: Tensor | None = None  # (T,) where each token stands in the padded, flattened input (B·N), where one asks

    def select(self, rows: Tensor) -> PackedTokens:
        """Only the tokens in ``rows`` (K,), rising indices into T; every sentence keeps its first token."""
        sentences = self.lengths.shape[0]
        seq_ids = self.seq_ids[: len(rows)] if sentences == 1 else self.seq_ids.index_select(0, rows)
        return PackedTokens(
            hidden=self.hidden.index_select(0, rows),
            seq_ids=seq_ids,
            lengths=count_tokens(seq_ids, sentences),
            indices=None if self.indices is None else self.indices.index_select(0, rows),
        )


def count_tokens(seq_ids: Tensor, sentences: int) -> Tensor:
    """(B,) how many of the tokens (T,) each sentence has."""
    if sentences == 1:
        return torch.full((1,), seq_ids.shape[0], device=seq_ids.device)
    return seq_ids.new_zeros(sentences).index_add_(0, seq_ids, torch.ones_like(seq_ids))


def sequence_starts(lengths: Tensor) -> Tensor:
    """(B,) the row of each sentence's first token: flash-attention's ``cu_seqlens[:-1]``."""
    if lengths.shape[0] == 1:
        return torch.zeros_like(lengths)
    return lengths.cumsum(0) - lengths


def offsets(seq_ids: Tensor, lengths: Tensor) -> Tensor:
    """(T,) each token's place within its sentence as it is now, from 0."""
    rows = torch.arange(seq_ids.shape[0], device=seq_ids.device)
    return rows - sequence_starts(lengths).index_select(0, seq_ids)


def pad_input(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count, …) zeros with ``values`` (T, …) written at ``rows`` (T,): from packed to padded."""
    return values.new_zeros((count, *values.shape[1:])).index_copy(0, rows, values)

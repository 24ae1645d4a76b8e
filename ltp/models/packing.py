"""Packed tokens: a batch without padding, one row a token. Pure functions.

The terms are flash-attention's: ``seq_ids``, ``indices``, ``pad_input``, and ``cu_seqlens``, the cumulated lengths.
Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass
class PackedTokens:
    """The tokens not yet dropped, sentence by sentence, in their order. A first token is never dropped."""

    hidden: Tensor  # (T, H)
    seq_ids: Tensor  # (T,) the sentence that each token belongs to, ascending
    lengths: Tensor  # (B,) tokens of each sentence
    protected: Tensor | None = None  # (B,) tokens at each sentence's start that are never dropped; None: one
    indices: Tensor | None = None  # (T,) each token's index in the padded, flattened input (B·N); None if not needed
    positions: Tensor | None = None  # (T,) each token's place among the sentence's tokens at first; None if not needed
    width: int | None = None  # at least N, on a GPU: asking for N would wait for all that it has to do; None: ask

    def select(self, rows: Tensor) -> PackedTokens:
        """Only the tokens in ``rows`` (K,), ascending indices into T with every sentence's first token among them."""
        sentences = self.lengths.shape[0]
        seq_ids = self.seq_ids[: len(rows)] if sentences == 1 else self.seq_ids.index_select(0, rows)
        return PackedTokens(
            hidden=self.hidden.index_select(0, rows),
            seq_ids=seq_ids,
            lengths=count_tokens(seq_ids, sentences),
            protected=self.protected,
            indices=None if self.indices is None else self.indices.index_select(0, rows),
            positions=None if self.positions is None else self.positions.index_select(0, rows),
            width=self.width,
        )


@dataclass(frozen=True)
class Queries:
    """The tokens whose context is wanted of an attention, where those are not all of its tokens.

    ``rows`` (K,) are ascending indices into T, with every sentence's first token among them; ``tokens`` are those rows.
    """

    rows: Tensor
    tokens: PackedTokens


def mean_of_tokens(tokens: PackedTokens) -> Tensor:
    """(B, H) the mean of each sentence's tokens."""
    hidden = tokens.hidden
    sums = hidden.new_zeros(len(tokens.lengths), hidden.shape[1]).index_add(0, tokens.seq_ids, hidden)
    return sums / tokens.lengths.to(hidden.dtype)[:, None]


def count_tokens(seq_ids: Tensor, sentences: int) -> Tensor:
    """(B,) the number of tokens of each sentence."""
    if sentences == 1:
        return torch.full((1,), seq_ids.shape[0], device=seq_ids.device)
    return seq_ids.new_zeros(sentences).index_add_(0, seq_ids, torch.ones_like(seq_ids))


def cumulated_lengths(lengths: Tensor) -> Tensor:
    """(B + 1,) flash-attention's ``cu_seqlens``: the row of each sentence's first token, and the number of rows."""
    return functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))


def sequence_starts(lengths: Tensor) -> Tensor:
    """(B,) the row of each sentence's first token: flash-attention's ``cu_seqlens[:-1]``."""
    if lengths.shape[0] == 1:
        return torch.zeros_like(lengths)
    return lengths.cumsum(0) - lengths


def offsets(seq_ids: Tensor, lengths: Tensor) -> Tensor:
    """(T,) each token's position among the tokens left of its sentence, from 0."""
    rows = torch.arange(seq_ids.shape[0], device=seq_ids.device)
    return rows - sequence_starts(lengths).index_select(0, seq_ids)


def protected_rows(tokens: PackedTokens) -> Tensor:
    """(K,) ascending rows of the tokens that are never dropped: every sentence's first, or those it is told to keep."""
    if tokens.protected is None:
        return sequence_starts(tokens.lengths)
    places = offsets(tokens.seq_ids, tokens.lengths)
    return (places < tokens.protected.index_select(0, tokens.seq_ids)).nonzero().squeeze(1)


def pad_input(values: Tensor, indices: Tensor, size: int) -> Tensor:
    """(size, …) zeros with ``values`` (T, …) written at ``indices`` (T,): from packed to padded."""
    return values.new_zeros((size, *values.shape[1:])).index_copy(0, indices, values)

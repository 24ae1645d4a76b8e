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
    sentence: Tensor  # (T,) index of the sentence that each token belongs to, rising
    lengths: Tensor  # (B,) tokens of each sentence
    source: Tensor | None = None  # (T,) where each token stands in the padded, flattened input (B·N), where one asks

    def keep(self, rows: Tensor) -> PackedTokens:
        """Only the tokens in ``rows`` (K,), rising indices into T; every sentence keeps its first token."""
        sentences = self.lengths.shape[0]
        sentence = self.sentence[: len(rows)] if sentences == 1 else self.sentence.index_select(0, rows)
        return PackedTokens(
            hidden=self.hidden.index_select(0, rows),
            sentence=sentence,
            lengths=count_tokens(sentence, sentences),
            source=None if self.source is None else self.source.index_select(0, rows),
        )


def count_tokens(sentence: Tensor, sentences: int) -> Tensor:
    """(B,) how many of the tokens (T,) each sentence has."""
    if sentences == 1:
        return torch.full((1,), sentence.shape[0], device=sentence.device)
    return sentence.new_zeros(sentences).index_add_(0, sentence, torch.ones_like(sentence))


def first_rows(lengths: Tensor) -> Tensor:
    """(B,) the row of each sentence's first token."""
    if lengths.shape[0] == 1:
        return torch.zeros_like(lengths)
    return lengths.cumsum(0) - lengths


def offsets(sentence: Tensor, lengths: Tensor) -> Tensor:
    """(T,) each token's place within its sentence as it is now, from 0."""
    rows = torch.arange(sentence.shape[0], device=sentence.device)
    return rows - first_rows(lengths).index_select(0, sentence)


def pad_rows(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count, …) zeros with ``values`` (T, …) written at ``rows`` (T,): from packed to padded."""
    return values.new_zeros((count, *values.shape[1:])).index_copy(0, rows, values)

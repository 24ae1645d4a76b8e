"""Packed tokens: bookkeeping of rows, whatever the lengths."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ltp.models.packing import PackedTokens, count_tokens, offsets, pad_input, sequence_starts

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def pack(lengths: list[int]) -> PackedTokens:
    """Tokens whose one feature is their number in the batch, from a batch padded to 10."""
    count = sum(lengths)
    seq_ids = torch.tensor([index for index, length in enumerate(lengths) for _ in range(length)])
    indices = torch.tensor([10 * index + place for index, length in enumerate(lengths) for place in range(length)])
    return PackedTokens(
        torch.arange(count, dtype=torch.float)[:, None], seq_ids, torch.tensor(lengths), indices=indices
    )


@given(LENGTHS)
def test_rows_of_a_batch(lengths):
    tokens = pack(lengths)
    assert count_tokens(tokens.seq_ids, len(lengths)).tolist() == lengths
    assert sequence_starts(tokens.lengths).tolist() == [sum(lengths[:index]) for index in range(len(lengths))]
    places = [place for length in lengths for place in range(length)]
    assert offsets(tokens.seq_ids, tokens.lengths).tolist() == places
    assert torch.equal(tokens.seq_ids * 10 + offsets(tokens.seq_ids, tokens.lengths), tokens.indices)


def test_a_sentence_without_tokens_counts_zero():
    assert count_tokens(torch.tensor([0, 0, 2]), 4).tolist() == [2, 0, 1, 0]


@given(LENGTHS, st.data())
def test_keeping_rows(lengths, data):
    """Lengths, seq_ids and indices follow the rows that are kept, in order, and gradients reach them only."""
    tokens = pack(lengths)
    starts = set(sequence_starts(tokens.lengths).tolist())
    rows = [row for row in range(sum(lengths)) if row in starts or data.draw(st.booleans())]
    tokens.hidden.requires_grad_()
    kept = tokens.select(torch.tensor(rows))
    assert kept.hidden[:, 0].tolist() == rows
    assert kept.indices.tolist() == [int(tokens.indices[row]) for row in rows]
    assert kept.seq_ids.tolist() == [int(tokens.seq_ids[row]) for row in rows]
    assert kept.lengths.tolist() == [kept.seq_ids.tolist().count(index) for index in range(len(lengths))]
    assert set(kept.indices[sequence_starts(kept.lengths)].tolist()) == {10 * index for index in range(len(lengths))}
    kept.hidden.sum().backward()
    assert tokens.hidden.grad.nonzero()[:, 0].tolist() == rows


@given(LENGTHS)
def test_from_packed_to_padded_and_back(lengths):
    tokens = pack(lengths)
    padded = pad_input(tokens.hidden + 1, tokens.indices, 10 * len(lengths))
    assert padded.shape == (10 * len(lengths), 1)
    assert torch.equal(padded[tokens.indices], tokens.hidden + 1)
    assert int((padded != 0).sum()) == sum(lengths)

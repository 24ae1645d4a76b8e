"""Packed attention is plain softmax attention of each sentence by itself, in any grouping into blocks."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltp.models import attention
from ltp.models.attention import packed_attention
from ltp.models.packing import PackedTokens

HEADS, WIDTH = 2, 6
LENGTHS = st.lists(st.integers(1, 8), min_size=1, max_size=7)
BLOCKS = st.sampled_from([1, HEADS * 9, HEADS * 40, HEADS * 200, 1 << 20])


def states(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value stacked (3, T, H), seq_ids and lengths."""
    generator = torch.Generator().manual_seed(seed)
    stacked = torch.randn(3, sum(lengths), WIDTH, generator=generator, dtype=torch.double)
    seq_ids = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return stacked.requires_grad_(), seq_ids, torch.tensor(lengths)


def plain(stacked: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition: softmax(Q Kᵀ / √D) V for each sentence and head, and the column sums of the softmax."""
    contexts, totals = [], []
    for part in stacked.split(lengths, dim=1):
        query, key, value = part.view(3, -1, HEADS, WIDTH // HEADS).transpose(1, 2)
        weights = (query @ key.transpose(1, 2) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        contexts.append((weights @ value).transpose(0, 1).reshape(-1, WIDTH))
        totals.append(weights.sum((0, 1)))
    return torch.cat(contexts), torch.cat(totals)


@given(LENGTHS, BLOCKS, st.booleans())
def test_equals_attention_of_each_sentence(lengths, block_elements, received):
    stacked, seq_ids, counts = states(lengths)
    with mock.patch.object(attention, "MAX_BLOCK_ELEMENTS", block_elements):
        context, totals = packed_attention(*stacked, seq_ids, counts, HEADS, return_received=received)
    expected, expected_totals = plain(stacked, lengths)
    torch.testing.assert_close(context, expected)
    weighing = torch.randn(context.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    score, expected_score = (context * weighing).sum(), (expected * weighing).sum()
    if received:
        torch.testing.assert_close(totals, expected_totals)
        assert totals.sum().item() == pytest.approx(HEADS * sum(lengths))
        score, expected_score = score + (totals**2).sum(), expected_score + (expected_totals**2).sum()
    else:
        assert totals is None
    torch.testing.assert_close(torch.autograd.grad(score, stacked), torch.autograd.grad(expected_score, stacked))


@given(LENGTHS, BLOCKS, st.sampled_from([1, 30, 1 << 18]), st.booleans())
def test_equals_it_without_gradients_too(lengths, block_elements, buffer_elements, received):
    """There a small table is used again, for as many heads at a time as it has room for."""
    stacked, seq_ids, counts = states(lengths)
    patched = mock.patch.multiple(attention, MAX_BLOCK_ELEMENTS=block_elements, MAX_BUFFER_ELEMENTS=buffer_elements)
    with patched, torch.no_grad(), mock.patch.object(torch, "get_num_threads", return_value=1):
        context, totals = packed_attention(*stacked, seq_ids, counts, HEADS, return_received=received)
        expected, expected_totals = plain(stacked, lengths)
    torch.testing.assert_close(context, expected)
    if received:
        torch.testing.assert_close(totals, expected_totals)
    assert (totals is None) != received


@pytest.mark.parametrize("received", [False, True])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradients_reach_the_one_part_that_wants_them(part, received):
    """As where adapters train the values alone."""
    lengths = [3, 5]
    stacked, seq_ids, counts = states(lengths)
    parts = [each.detach() for each in stacked]
    parts[part].requires_grad_()
    context, _ = packed_attention(*parts, seq_ids, counts, HEADS, return_received=received)
    expected, _ = plain(torch.stack(parts), lengths)
    (found,), (right,) = (torch.autograd.grad((each**2).sum(), parts[part]) for each in (context, expected))
    torch.testing.assert_close(found, right)


@given(LENGTHS, BLOCKS, st.data())
def test_few_queries_find_what_they_find_among_all(lengths, block_elements, data):
    """Context and gradients, plain and with what a layout adds by the tokens' places."""
    (query, key, value), seq_ids, counts = states(lengths)
    stay = [torch.tensor([True] + [data.draw(st.booleans()) for _ in range(length - 1)]) for length in lengths]
    rows = torch.cat(stay).nonzero().squeeze(1)
    places = torch.cat([torch.arange(length) for length in lengths])
    few = PackedTokens(
        query[rows], seq_ids[rows], torch.tensor([int(each.sum()) for each in stay]), positions=places[rows]
    )

    def distances(queries, keys, query_places, key_places):
        return (query_places[:, :, None] - key_places[:, None, :])[:, None].to(queries.dtype)

    for bias in (None, distances):
        with mock.patch.object(attention, "MAX_BLOCK_ELEMENTS", block_elements):
            whole, _ = packed_attention(query, key, value, seq_ids, counts, HEADS, bias=bias, positions=places)
            context, _ = packed_attention(
                query[rows], key, value, seq_ids, counts, HEADS, bias=bias, positions=places, queries=few
            )
        torch.testing.assert_close(context, whole[rows])
        expected, found = (torch.autograd.grad((each**2).sum(), (key, value)) for each in (whole[rows], context))
        torch.testing.assert_close(found, expected)


@given(LENGTHS, BLOCKS)
def test_blocks_cover_the_batch_and_fit(lengths, block_elements):
    blocks = attention._blocks(lengths, HEADS, block_elements)
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks[:-1])]
    assert blocks[-1][1] == len(lengths)
    for start, stop in blocks:
        assert stop - start == 1 or (stop - start) * HEADS * max(lengths[start:stop]) ** 2 <= block_elements


def test_dropout_acts_on_what_is_mixed_only():
    """Half of the probabilities go and the rest double, with either of the two kernels."""
    lengths = [3] * 500
    stacked, seq_ids, counts = states(lengths)
    ones = torch.ones_like(stacked[2])
    for received in (False, True):
        torch.manual_seed(0)
        context, _ = packed_attention(
            stacked[0], stacked[1], ones, seq_ids, counts, HEADS, dropout=0.5, return_received=received
        )
        assert context.mean().item() == pytest.approx(1.0, abs=0.05)
        assert context.std().item() > 0.3


@pytest.mark.parametrize("lengths", [[9, 9], [9, 4, 7], [60, 60], [60, 7, 33]])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_weights_give_the_received_attention_that_they_give_with_gradients(dtype, lengths):
    """In 32-bit sums of the same probabilities: else tokens near a threshold stay in training and go in inference."""
    stacked, seq_ids, counts = states(lengths)
    halves = stacked.detach().to(dtype).requires_grad_()
    _, expected = packed_attention(*halves, seq_ids, counts, HEADS, return_received=True)
    with torch.no_grad():
        _, received = packed_attention(*halves, seq_ids, counts, HEADS, return_received=True)
    assert received.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(received, expected.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gradients", [False, True])
def test_short_sentences_of_16_bit_weights_are_scored_in_32_bits(gradients):
    """Exactly as the same numbers in 32 bits; the context is rounded to 16 once."""
    lengths = [9, 4, attention.MAX_WIDENED_LENGTH]
    stacked, seq_ids, counts = states(lengths)
    halves = stacked.detach().to(torch.bfloat16)
    found = []
    for parts in (halves, halves.float()):
        with torch.set_grad_enabled(gradients):
            context, received = packed_attention(
                *parts.requires_grad_(gradients), seq_ids, counts, HEADS, return_received=True
            )
        found.append((context.to(torch.bfloat16), received))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    longer, seq_ids, counts = states([attention.MAX_WIDENED_LENGTH + 1])
    halves = longer.detach().to(torch.bfloat16)
    received, exact = (
        packed_attention(*parts, seq_ids, counts, HEADS, return_received=True)[1] for parts in (halves, halves.float())
    )
    assert not torch.equal(received, exact)  # the longer ones keep the faster format

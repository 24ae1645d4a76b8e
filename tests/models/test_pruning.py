"""Scores, thresholds and the rules that say which tokens stay."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ltp.models.packing import PackedTokens
from ltp.models.pruning import (
    SMALLEST_THRESHOLD,
    Rule,
    keep_topk,
    rising,
    soft_mask,
    topk_keep_rates,
)
from ltp.models.scores import importance, relative_to_largest

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def scored(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Received sums, all different, with seq_ids and lengths."""
    received = torch.rand(sum(lengths), generator=torch.Generator().manual_seed(seed)) + 0.1
    return received, torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)), torch.tensor(lengths)


def test_importance_is_the_mean_over_heads_and_a_constant_length():
    assert importance(torch.tensor([12.0, 3.0]), heads=3, score_length=4).tolist() == [1.0, 0.25]


def test_thresholds_rise_to_the_last_layer():
    assert rising(0.01, 12)[2::3] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])
    assert rising(0.5, 1) == [0.5]


@pytest.mark.parametrize(
    ("layers", "rate", "expected"),
    [
        (4, 0.2, [1, 1, 1, 0.2]),
        (6, 0.5, [1, 1, 1, 5 / 6, 4 / 6, 0.5]),
        (24, 0.2, [1] * 4 + [1 - 0.8 * step / 20 for step in range(1, 21)]),  # ⌈0.15 · 24⌉ = 4 layers spared
        (5, -1.0, [1, 1, 1, 0, 0]),
        (12, 1.0, [1] * 12),
        (2, 0.2, [1, 1]),
    ],
)
def test_keep_rates_of_topk(layers, rate, expected):
    assert topk_keep_rates(layers, rate) == pytest.approx(expected)


@given(st.integers(1, 40), st.floats(-9.0, 1.0))
def test_keep_rates_never_rise(layers, rate):
    rates = topk_keep_rates(layers, rate)
    assert len(rates) == layers and rates[: min(3, layers)] == [1.0] * min(3, layers)
    assert all(0 <= later <= earlier <= 1 for earlier, later in pairwise(rates))
    assert layers <= math.ceil(0.15 * layers) + 3 or rates[-1] == pytest.approx(max(0.0, rate))


@given(LENGTHS, st.floats(1e-3, 1.5))
def test_a_threshold_keeps_what_reaches_it_and_every_first_token(lengths, threshold):
    received, seq_ids, counts = scored(lengths)
    tokens = PackedTokens(received[:, None], seq_ids, counts)
    kept = Rule("absolute_threshold", [threshold]).keep_indices(0, received, tokens, counts)
    first = [True, *(seq_ids[1:] != seq_ids[:-1]).tolist()]
    expected = [is_first or score >= threshold for is_first, score in zip(first, received.tolist(), strict=True)]
    assert kept.tolist() == [row for row, stays in enumerate(expected) if stays]


def test_a_score_that_equals_its_threshold_stays():
    received, counts = torch.tensor([0.0, 0.5, 0.25]), torch.tensor([3])
    tokens = PackedTokens(received[:, None], torch.zeros(3, dtype=torch.long), counts)
    assert Rule("absolute_threshold", [0.5]).keep_indices(0, received, tokens, counts).tolist() == [0, 1]


@given(LENGTHS)
def test_relative_to_largest(lengths):
    received, seq_ids, _ = scored(lengths)
    found = relative_to_largest(received, seq_ids, len(lengths))
    for part, whole in zip(found.split(lengths), received.split(lengths), strict=True):
        torch.testing.assert_close(part, whole / whole.max())
        assert part.max() == 1.0
    # A batch mate with larger scores changes nothing.
    alone = relative_to_largest(received[: lengths[0]], seq_ids[: lengths[0]], 1)
    assert torch.equal(alone, found[: lengths[0]])


@given(LENGTHS, st.floats(0.0, 1.0), st.integers(0, 3))
def test_topk_keeps_the_highest_of_each_sentence_and_its_first(lengths, rate, gone):
    """Counts follow the length before pruning, which is ``gone`` tokens longer than now."""
    received, seq_ids, counts = scored(lengths)
    original = [length + gone for length in lengths]
    assume(all(abs(length * rate % 1 - 0.5) > 1e-3 for length in original))
    kept = keep_topk(received, seq_ids, counts, torch.tensor(original), rate)
    wider = keep_topk(received, seq_ids, counts, torch.tensor(original), rate, width=max(lengths) + 3)
    assert torch.equal(wider, kept)
    parts = zip(kept.split(lengths), received.split(lengths), original, strict=True)
    for stay, scores, length in parts:
        wanted = min(max(1, round(length * rate)), len(scores))
        assert stay.sum() == wanted and stay[0]
        others = set(scores[1:].sort(descending=True).values[: wanted - 1].tolist())
        assert set(scores[1:][stay[1:]].tolist()) == others


@pytest.mark.parametrize(
    ("length", "rate", "expected"),
    [(5, 0.5, 2), (7, 0.5, 4), (9, 0.5, 4), (10, 0.25, 2), (6, 0.25, 2), (14, 0.25, 4), (4, 0.0, 1), (1, 0.5, 1)],
)
def test_topk_rounds_half_to_even(length, rate, expected):
    received, seq_ids, counts = scored([length])
    assert keep_topk(received, seq_ids, counts, counts, rate).sum() == expected


def test_topk_with_equal_scores_keeps_the_earlier_and_no_padding():
    received, seq_ids = torch.tensor([0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    kept = keep_topk(received, seq_ids, torch.tensor([3, 4]), torch.tensor([4, 6]), 0.5)
    assert kept.tolist() == [True, True, False, True, True, True, False]


def test_soft_mask_nears_the_hard_rule_as_it_cools():
    scores, threshold = torch.tensor([0.005, 0.0099, 0.0101, 0.02]), torch.tensor(0.01)
    hard = (scores >= threshold).float()
    distance = [(soft_mask(scores, threshold, warmth) - hard).abs().max().item() for warmth in (1e-3, 1e-4, 1e-5)]
    assert distance[0] > distance[1] > distance[2] < 1e-4
    assert soft_mask(threshold, threshold, 1e-3) == 0.5


@given(st.floats(0.0, 0.1), st.floats(-0.1, 0.1), st.sampled_from([1e-2, 1e-3, 1e-4]))
def test_gradient_of_the_soft_mask(score, threshold, temperature):
    """σ′ = σ(1 − σ)/T towards the score, and its negative towards the threshold."""
    given_score = torch.tensor(score, dtype=torch.double, requires_grad=True)
    given_threshold = torch.tensor(threshold, dtype=torch.double, requires_grad=True)
    mask = soft_mask(given_score, given_threshold, temperature)
    to_score, to_threshold = torch.autograd.grad(mask, (given_score, given_threshold))
    assert to_score.item() == pytest.approx(mask.item() * (1 - mask.item()) / temperature)
    assert to_threshold.item() == -to_score.item()


@given(LENGTHS, st.floats(-0.1, 1.0), st.integers(1, 12), st.integers(1, 200))
def test_the_absolute_rule_is_importance_against_the_threshold(lengths, threshold, heads, score_length):
    """Solved for the attention received, which spares a division: the same tokens, but for those on the border."""
    received, seq_ids, counts = scored(lengths)
    rule = Rule.absolute([threshold], heads, score_length)
    if threshold <= 0:
        assert not rule.is_active(0)
        return
    tokens = PackedTokens(received[:, None], seq_ids, counts)
    scores = importance(received, heads, score_length)
    near = (scores / max(threshold, SMALLEST_THRESHOLD) - 1).abs() < 1e-5
    first = torch.cat([torch.tensor([True]), seq_ids[1:] != seq_ids[:-1]])
    expected = (scores >= max(threshold, SMALLEST_THRESHOLD)) | first
    kept = torch.zeros_like(expected).index_fill_(0, rule.keep_indices(0, received, tokens, counts), True)
    assert rule.is_active(0) and torch.equal(kept[~near], expected[~near])


def test_which_layers_judge():
    assert not Rule("none").is_active(0)
    assert [Rule("topk", keep_rates=[1.0, 0.5]).is_active(layer) for layer in (0, 1)] == [False, True]
    assert [Rule("threshold", [0.0, 0.2]).is_active(layer) for layer in (0, 1)] == [False, True]

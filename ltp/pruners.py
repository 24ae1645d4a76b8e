"""Which tokens stay: importance scores, the four pruning rules, the soft mask. Pure functions.

``received`` (T,) is the attention probability that each packed token receives, summed over heads and queries.
Shapes: T tokens in the batch, B sentences, L layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ltp.packing import first_rows, offsets, pad_rows

SMALLEST_THRESHOLD = 1e-5  # the original's floor below which no score is judged


def importance(received: Tensor, heads: int, score_length: int) -> Tensor:
    """(T,) token importance: mean attention probability over heads and query positions (paper, eq. 4).

    The mean divides by a constant, ``score_length``, where the original divides by the padded length, so a score
    does not depend on padding and thresholds carry over (the original pads to 128).
    """
    return received / (heads * score_length)


def rising(final: float, layers: int) -> list[float]:
    """A value per layer that rises linearly to ``final`` at the last: final · l/L for l = 1…L."""
    return [final * layer / layers for layer in range(1, layers + 1)]


def topk_keep_rates(layers: int, keep_rate: float) -> list[float]:
    """Share of the original tokens that top-k keeps after each layer.

    The first max(3, ⌈0.15 L⌉) layers keep all; then the rate falls linearly to ``keep_rate`` at the last layer,
    floored at 0.
    """
    spared = min(max(3, math.ceil(0.15 * layers)), layers)
    steps = layers - spared
    falling = [1.0 - (1.0 - keep_rate) * step / steps for step in range(1, steps + 1)]
    return [1.0] * spared + [max(0.0, rate) for rate in falling]


def soft_mask(scores: Tensor, threshold: Tensor, temperature: float) -> Tensor:
    """(T,) σ((score − θ)/T), the differentiable stand-in for "score ≥ θ" (paper, eq. 8)."""
    return torch.sigmoid((scores - threshold) / temperature)


def keep_above(scores: Tensor, threshold: float, lengths: Tensor) -> Tensor:
    """(T,) bool: tokens whose score reaches the threshold, and every first token."""
    kept = scores >= threshold
    return kept.index_fill(0, first_rows(lengths), True)


def relative_to_largest(received: Tensor, sentence: Tensor, sentences: int) -> Tensor:
    """(T,) each score divided by the largest of its sentence."""
    largest = received.new_zeros(sentences).scatter_reduce(0, sentence, received, "amax")
    return received / largest.index_select(0, sentence)


def keep_topk(received: Tensor, sentence: Tensor, lengths: Tensor, original_lengths: Tensor, rate: float) -> Tensor:
    """(T,) bool: in each sentence the k highest scores, the first token always among them.

    k = round(original length · rate), half to even, at least 1.
    """
    wanted = (original_lengths * rate).round().clamp(min=1)  # (B,)
    longest, sentences = int(lengths.max()), lengths.shape[0]
    places = sentence * longest + offsets(sentence, lengths)  # (T,) into B·N
    # Scores are positive: 0 ranks padding last, infinity the first token first.
    ranked = received.index_fill(0, first_rows(lengths), math.inf)
    table = pad_rows(ranked, places, sentences * longest).view(sentences, longest)
    order = table.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(longest, device=order.device).expand_as(order))
    return rank.view(-1).index_select(0, places) < wanted.index_select(0, sentence)

"""Which tokens are kept: importance scores, the soft mask, and the four pruning rules.

``received`` (T,) is the attention that each packed token receives (defined in ltp.models.attention).
Shapes: T tokens in the batch, B sentences, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltp.models.packing import PackedTokens, offsets, pad_input, sequence_starts
from ltp.settings.pruning import SMALLEST_THRESHOLD


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
    unpruned = min(max(3, math.ceil(0.15 * layers)), layers)
    steps = layers - unpruned
    falling = [1.0 - (1.0 - keep_rate) * step / steps for step in range(1, steps + 1)]
    return [1.0] * unpruned + [max(0.0, rate) for rate in falling]


def soft_mask(scores: Tensor, threshold: Tensor, temperature: float) -> Tensor:
    """(T,) σ((score − θ)/T), the differentiable approximation of "score ≥ θ" (paper, eq. 8)."""
    return torch.sigmoid((scores - threshold) / temperature)


def keep_above(scores: Tensor, threshold: float, lengths: Tensor) -> Tensor:
    """(T,) bool: tokens with score ≥ threshold, both on the same scale, and every first token."""
    kept = scores >= threshold
    return kept.index_fill(0, sequence_starts(lengths), True)


def relative_to_largest(received: Tensor, seq_ids: Tensor, sentences: int) -> Tensor:
    """(T,) each score divided by the largest of its sentence."""
    largest = received.new_zeros(sentences).scatter_reduce(0, seq_ids, received, "amax")
    return received / largest.index_select(0, seq_ids)


def keep_topk(received: Tensor, seq_ids: Tensor, lengths: Tensor, original_lengths: Tensor, rate: float) -> Tensor:
    """(T,) bool: in each sentence the k highest scores, the first token always among them.

    k = round(original length · rate), half to even, at least 1.
    """
    count = (original_lengths * rate).round().clamp(min=1)  # (B,)
    longest, sentences = int(lengths.max()), lengths.shape[0]
    indices = seq_ids * longest + offsets(seq_ids, lengths)  # (T,) into B·N
    # Scores are positive: 0 ranks padding last, infinity the first token first.
    scores = received.index_fill(0, sequence_starts(lengths), math.inf)
    padded = pad_input(scores, indices, sentences * longest).view(sentences, longest)
    order = padded.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(longest, device=order.device).expand_as(order))
    return rank.view(-1).index_select(0, indices) < count.index_select(0, seq_ids)


@dataclass(frozen=True)
class Rule:
    """How each layer prunes, in Python numbers: tensors are read once a forward pass, since each read costs time.

    ``min_scores`` (L,) is the least score of a kept token; a layer where it is 0 or less drops none. In mode
    ``absolute_threshold`` the score is the attention that the token receives; in ``rising_threshold`` and ``threshold``
    it is that, divided by the largest in the sentence. ``keep_rates`` (L,), for ``topk``, is the share of the original
    tokens that each layer keeps.
    """

    mode: str
    min_scores: Sequence[float] = ()
    keep_rates: Sequence[float] = ()

    @classmethod
    def absolute(cls, thresholds: Sequence[float], heads: int, score_length: int) -> Rule:
        """Keep a token whose importance reaches max(1e-5, θ); a layer with θ ≤ 0 drops none."""
        scale = heads * score_length  # of importance(), applied to the thresholds rather than to every token
        min_scores = [max(threshold, SMALLEST_THRESHOLD) * scale if threshold > 0 else 0.0 for threshold in thresholds]
        return cls("absolute_threshold", min_scores)

    def is_active(self, layer: int) -> bool:
        """Whether a layer can drop tokens; one that cannot need not score them."""
        if self.mode == "none":
            return False
        return self.keep_rates[layer] < 1.0 if self.mode == "topk" else self.min_scores[layer] > 0.0

    def keep_indices(self, layer: int, received: Tensor, tokens: PackedTokens, original_lengths: Tensor) -> Tensor:
        """(K,) ascending rows (into T) of the tokens kept after the layer's attention.

        ``received`` (T,) belongs to ``tokens``; ``original_lengths`` (B,) are the sentences' lengths before layer 1.
        """
        seq_ids, lengths = tokens.seq_ids, tokens.lengths
        if self.mode == "topk":
            kept = keep_topk(received, seq_ids, lengths, original_lengths, self.keep_rates[layer])
        elif self.mode == "absolute_threshold":
            kept = keep_above(received, self.min_scores[layer], lengths)
        else:
            kept = keep_above(relative_to_largest(received, seq_ids, lengths.shape[0]), self.min_scores[layer], lengths)
        return kept.nonzero().squeeze(1)

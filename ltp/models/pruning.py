"""Which tokens are kept: the soft mask and the four pruning rules.

``received`` (T,) is the attention that each packed token receives, or what it contributes (defined in
ltp.models.attention), or its predicted saliency (ltp.models.saliency).
Shapes: T tokens in the batch, B sentences, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltp.models.packing import PackedTokens, offsets, pad_input, protected_rows, sequence_starts
from ltp.models.scores import centred_log, relative_to_largest
from ltp.settings.pruning import KEEP_ALL, KEEP_FIRST, SMALLEST_THRESHOLD


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


def keep_topk(
    received: Tensor, seq_ids: Tensor, lengths: Tensor, original_lengths: Tensor, rate: float, width: int | None = None
) -> Tensor:
    """(T,) bool: in each sentence the k highest scores, the first token always among them.

    k = round(original length · rate), half to even, at least 1. ``width`` is at least N; None: N.
    """
    count = (original_lengths * rate).round().clamp(min=1)  # (B,)
    longest, sentences = int(lengths.max()) if width is None else width, lengths.shape[0]
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

    ``centred``, in mode ``absolute_threshold``: the score is the centred logarithm of ltp.models.scores; then a layer
    drops none at KEEP_ALL or less, and all but the first tokens at KEEP_FIRST or more.
    """

    mode: str
    min_scores: Sequence[float] = ()
    keep_rates: Sequence[float] = ()
    centred: bool = False

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
        if self.mode == "topk":
            return self.keep_rates[layer] < 1.0
        return self.min_scores[layer] > (KEEP_ALL if self.centred else 0.0)

    def keeps_first_only(self, layer: int) -> bool:
        """Whether a layer drops all but the first tokens whatever their scores, as the last layer may at no loss."""
        if self.mode == "topk":
            return self.keep_rates[layer] <= 0.0
        return self.centred and self.min_scores[layer] >= KEEP_FIRST

    def needs_scores(self, layer: int) -> bool:
        """Whether a layer's decision depends on its tokens' scores."""
        return self.is_active(layer) and not self.keeps_first_only(layer)

    def gate(self, layer: int, tokens: PackedTokens) -> Tensor | None:
        """(T,) what is added to the attention scores of the tokens as keys, near 0; None: nothing.

        In models whose every token has an answer it also scales what the layer adds to the tokens' states, by 1 + g.
        Where the head reads the tokens' mean, that is one layer more.
        """
        return None

    def scores(self, received: Tensor, tokens: PackedTokens) -> Tensor:
        """(T,) what is compared with ``min_scores``: ``received`` (T,) as the mode and the score want it."""
        if self.centred:
            return centred_log(received, tokens.seq_ids, tokens.lengths, tokens.width)
        if self.mode == "absolute_threshold":
            return received
        return relative_to_largest(received, tokens.seq_ids, tokens.lengths.shape[0])

    def keep_indices(
        self, layer: int, received: Tensor | None, tokens: PackedTokens, original_lengths: Tensor
    ) -> Tensor:
        """(K,) ascending rows (into T) of the tokens kept after the layer's attention.

        ``received`` (T,) belongs to ``tokens``, and is None in a layer that needs no scores; ``original_lengths`` (B,)
        are the sentences' lengths before layer 1.
        """
        if received is None:
            return protected_rows(tokens)
        received, stay = received.detach(), protected_rows(tokens)
        if self.mode == "topk":
            rate = self.keep_rates[layer]
            received = received.index_fill(0, stay, math.inf)
            kept = keep_topk(received, tokens.seq_ids, tokens.lengths, original_lengths, rate, tokens.width)
        else:
            kept = self.scores(received, tokens) >= self.min_scores[layer]
        return kept.index_fill(0, stay, True).nonzero().squeeze(1)

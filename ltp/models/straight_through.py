"""Masks that remove tokens in the forward pass and have the gradient of a sigmoid: how thresholds learn a budget.

A token's mask is 1 where its score reaches the threshold and 0 elsewhere, as in the hard rule; backward it is
σ((score − θ)/T) (the straight-through estimator, Bengio et al., 2013, https://arxiv.org/abs/1308.3432). Masks multiply
from layer to layer, since a dropped token stays dropped, and weigh the keys inside of the next layer's softmax, as in
LTMP (Bonnaerens and Dambre, 2023, https://arxiv.org/abs/2305.17328). So the forward pass gives what the hard rule
gives, and the loss says what each token that was kept or dropped last is worth. A dropped token is a masked key in the
one layer that follows: farther on its mask has no gradient, and it is removed.

Shapes: T tokens in the batch, B sentences, L layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltp.models.flops import Sizes, relative_flops
from ltp.models.packing import PackedTokens, sequence_starts
from ltp.models.pruning import Rule


class StraightThroughMasks:
    """The masks of one forward pass, and the tokens that each layer processes by them.

    ``values`` (T,) are the masks of the tokens now in the batch, zeros and ones.
    """

    def __init__(self, rule: Rule, thresholds: Tensor, temperature: float, tokens: PackedTokens) -> None:
        self.rule, self.thresholds, self.temperature = rule, thresholds, temperature
        self.original_lengths = tokens.lengths
        self.values = torch.ones(tokens.seq_ids.shape[0], device=thresholds.device)
        self.attention_tokens: list[Tensor] = []
        self.ffn_tokens: list[Tensor] = []

    def enter(self, tokens: PackedTokens) -> None:
        """Count the tokens that enter a layer's attention."""
        self.attention_tokens.append(self._count(tokens))

    def live_rows(self) -> Tensor:
        """(K,) ascending rows (into T) of the tokens that are not dropped yet."""
        return (self.values > 0.5).nonzero().squeeze(1)

    def decide(self, layer: int, received: Tensor | None, tokens: PackedTokens, rows: Tensor) -> None:
        """Mask the tokens that a layer drops, and count those left for its feed-forward.

        ``rows`` (K,) are those of :meth:`live_rows`, ``tokens`` is what is left by them, and ``received`` (T,) is of
        the tokens before; None where the layer needs no scores.
        """
        self.values = self.values.index_select(0, rows)
        first = sequence_starts(tokens.lengths)
        if self.rule.keeps_first_only(layer):
            self.values = self.values * torch.zeros_like(self.values).index_fill(0, first, 1.0)
        elif self.rule.is_active(layer):
            scores = self.rule.scores(received.detach().index_select(0, rows), tokens).to(self.thresholds.dtype)
            soft = torch.sigmoid((scores - self.thresholds[layer]) / self.temperature)
            hard = (scores >= self.thresholds[layer]).to(soft.dtype)
            self.values = self.values * (hard + soft - soft.detach()).index_fill(0, first, 1.0)
        self.ffn_tokens.append(self._count(tokens))

    def counts(self) -> tuple[list[Tensor], list[Tensor]]:
        """(B,) tokens that entered each layer's attention and its feed-forward, as numbers without gradient."""
        attention_tokens = [count.detach().round().long() for count in self.attention_tokens]
        return attention_tokens, [count.detach().round().long() for count in self.ffn_tokens]

    def relative_flops(self, sizes: Sizes) -> Tensor:
        """() FLOPs of the batch's sentences relative to those without pruning, with a gradient for the thresholds."""
        attention_tokens, ffn_tokens = torch.stack(self.attention_tokens, 1), torch.stack(self.ffn_tokens, 1)
        return relative_flops(attention_tokens, ffn_tokens, self.original_lengths, sizes)

    def _count(self, tokens: PackedTokens) -> Tensor:
        zeros = self.values.new_zeros(tokens.lengths.shape[0])
        return zeros.index_add(0, tokens.seq_ids, self.values)

"""The state in which each token leaves the encoder, for heads that read all tokens.

A token that a layer drops keeps the state with which it entered that layer; the head sees it in its old place.

Shapes: T tokens of the batch before the first layer, K of them left, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor


class LastStates:
    """Of tokens that are removed: what was dropped is set aside, and put back at the end."""

    def __init__(self, hidden: Tensor) -> None:
        self.places = torch.arange(hidden.shape[0], device=hidden.device)  # (K,) into T, of the tokens left
        self.dropped: list[tuple[Tensor, Tensor]] = []  # their places and states

    def drop(self, hidden: Tensor, rows: Tensor) -> None:
        """Set aside the states ``hidden`` (K, H) of all tokens left but those in ``rows``, ascending."""
        gone = torch.ones_like(self.places, dtype=torch.bool).index_fill(0, rows, False).nonzero().squeeze(1)
        self.dropped.append((self.places.index_select(0, gone), hidden.index_select(0, gone)))
        self.places = self.places.index_select(0, rows)

    def all(self, hidden: Tensor) -> Tensor:
        """(T, H) the last state of every token; ``hidden`` (K, H) are those of the tokens that the last layer left."""
        if not self.dropped:
            return hidden
        places, states = zip((self.places, hidden), *self.dropped, strict=True)
        # 16 bits and 32 can meet under autocast: embeddings, which the first layer may drop, are in 32.
        widest = torch.promote_types(states[0].dtype, states[1].dtype)
        return torch.cat([state.to(widest) for state in states]).index_select(0, torch.cat(places).argsort())


class ExpectedStates:
    """Of tokens that soft masks weigh: the mean of the states in which they could leave.

    Layer l drops a token with probability 1 − m_l where its mask is m_l. It leaves with the state u_{l−1}, which it has
    before layer l, with probability (1 − m_l)·Π_{k<l} m_k, and with the last layer's with Π m_k. For masks of zeros and
    ones these are the states of :class:`LastStates`. Masks scale what the layers pass on, as in the paper; here u are
    the states before that.
    """

    def __init__(self, hidden: Tensor) -> None:
        self.state, self.sum = hidden, torch.zeros_like(hidden)  # (T, H)
        self.left: Tensor | float = 1.0  # (T,) probability that a token is still there

    def weigh(self, mask: Tensor) -> None:
        """Drop every token with probability 1 − ``mask`` (T,)."""
        left = self.left * mask
        self.sum = self.sum + (self.left - left)[:, None] * self.state
        self.left = left

    def update(self, hidden: Tensor) -> None:
        """A layer's outputs (T, H), before its masks."""
        self.state = hidden

    def all(self) -> Tensor:
        """(T, H) the expected last state of every token."""
        return self.sum + self.left[:, None] * self.state

"""How many tokens each layer keeps, so that sentences cost a given share of their FLOPs.

Shapes: B sentences, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ltp.common.errors import LTPError
from ltp.models import flops

STAY = 0.1  # share of the tokens that go through all layers where every token has an answer


def shares_for(
    target: float, layers: int, lengths: np.ndarray, sizes: tuple[int, int], first_only: bool = True
) -> list[float]:
    """Share of a sentence's tokens left after each layer (L,), for sentences of ``lengths`` (B,) to cost ``target``.

    ``sizes`` are the encoder's hidden and intermediate size. The last layer keeps the first token, which is all that
    the classifier reads; before it the share is 1 / (1 + p·(l − 1) + p²/16). The first layer so keeps nearly all where
    the target is mild: what is dropped there costs accuracy. At low targets it must drop too, most of all from long
    text, or there would be nothing left for the others. A target that p = 0 does not cost spares the last layer.
    Without ``first_only`` the head reads all tokens, and each needs its first layers: see :func:`_deep_shares`.
    Raises LTPError for a target that is less than the first layer's attention.
    """

    if not first_only:
        return _deep_shares(solve(partial(_deep_shares, layers=layers), 1.0, target, lengths, sizes), layers)

    def family(position: float) -> list[float]:  # from 0, all tokens, to 2, first tokens only
        if position >= 2.0:
            return [0.0] * layers
        p = math.tan(math.pi / 2 * max(0.0, position - 1.0))
        return [*(1.0 / (1.0 + p * layer + p**2 / 16) for layer in range(layers - 1)), max(0.0, 1.0 - position)]

    return family(solve(family, 2.0, target, lengths, sizes))


def _deep_shares(position: float, layers: int) -> list[float]:
    """Shares (L,) where every token has an answer: all go through the first layers, and then most leave.

    ``position`` from 0, all tokens, to 1, first tokens only, is how far the depth at which tokens leave has come down.
    They leave over a third of the layers. A tenth stays to the end, so that every layer has a threshold to learn.
    """
    width = layers / 3
    depth = (1.0 - position) * (layers + width)
    stay = STAY * min(1.0, depth)
    return [min(1.0, max(stay, (depth - layer) / width)) for layer in range(1, layers + 1)]


def solve(
    family: Callable[[float], Sequence[float]], end: float, target: float, lengths: np.ndarray, sizes: tuple[int, int]
) -> float:
    """The position, from 0 to ``end``, at which a family of falling shares costs ``target``, by bisection.

    Costs must fall from 0 to ``end``. Raises LTPError where they are above the target even there.
    """
    least = cost(family(end), lengths, sizes)
    if target < least:
        raise LTPError(
            f"flops: {target} cannot be reached: the first layer's attention alone is {least:.3f} of the FLOPs of this "
            "text; choose more"
        )
    low, high = 0.0, end
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(family(middle), lengths, sizes) > target else (low, middle)
    return high


def cost(shares: Sequence[float], lengths: np.ndarray, sizes: tuple[int, int]) -> float:
    """Relative FLOPs of sentences of ``lengths`` (B,) that keep ``shares`` (L,) of their tokens after each layer."""
    tokens = np.maximum(np.outer(lengths, [1.0, *shares]), 1.0)  # the first token stays: (B, L + 1)
    return flops.summarise(tokens[:, :-1], tokens[:, 1:], lengths, *sizes)["relative"]

"""How many tokens each layer keeps, so that sentences cost a given share of their FLOPs.

Shapes: B sentences, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ltp.common.errors import LTPError
from ltp.models import flops

FALL = 1.25  # how fast the shares fall from layer to layer; docs/evidence.md compares schedules


def shares_for(target: float, layers: int, lengths: np.ndarray, sizes: tuple[int, int]) -> list[float]:
    """Share of a sentence's tokens left after each layer (L,), for sentences of ``lengths`` (B,) to cost ``target``.

    ``sizes`` are the encoder's hidden and intermediate size. The last layer keeps the first token, which is all that
    the classifier reads; before it the share after layer l is min(1, c / l^FALL). The first layers so keep all where
    the target is mild: what is dropped there costs accuracy. At low targets they must drop too, or there would be
    nothing left for the others. A target that even this costs less than spares the last layer. Raises LTPError for a
    target that is less than the first layer's attention.
    """

    def family(position: float) -> list[float]:  # from 0, all tokens, to 2, first tokens only
        c = (layers - 1) ** FALL * min(1.0, 2.0 - position)
        return [*(min(1.0, c / layer**FALL) for layer in range(1, layers)), max(0.0, 1.0 - position)]

    return family(solve(family, 2.0, target, lengths, sizes))


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

"""How many tokens each layer keeps, so that sentences cost a given share of their FLOPs.

Shapes: B sentences, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ltp.common.errors import LTPError
from ltp.models import flops

STAY = 0.1  # share of the tokens that go through all layers where every token has an answer
BISECTIONS = 40
FALL = 1.25  # how fast the shares fall from layer to layer; docs/evidence.md compares schedules


def shares_for(
    target: float, layers: int, lengths: np.ndarray, sizes: flops.Sizes, every_token: bool = False,
    protected: np.ndarray | float = 1.0,
) -> list[float]:  # fmt: skip
    """Share of a sentence's tokens left after each layer (L,), for sentences of ``lengths`` (B,) to cost ``target``.

    The last layer keeps the first token, which is all that most classifiers read; before it the share after layer l is
    min(1, c / l^FALL). Where the head reads all tokens, the last layer keeps that share too. The first layers so keep
    all where the target is mild: what is dropped there costs accuracy. At low targets they must drop too, or there
    would be nothing left for the others. A target that even this costs less than spares the last layer. Where
    ``every_token`` has an answer of its own, each needs its first layers: see :func:`_deep_shares`. ``protected`` (B,)
    tokens of each sentence stay, whatever the share. Raises LTPError for a target that is less than they and the first
    layer's attention cost.
    """
    if every_token:
        return _deep_shares(solve(partial(_deep_shares, layers=layers), 1.0, target, lengths, sizes, protected), layers)
    falling = layers if sizes.reads_all else layers - 1

    def family(position: float) -> list[float]:  # from 0, all tokens, to 2, first tokens only
        c = falling**FALL * min(1.0, 2.0 - position)
        shares = [min(1.0, c / layer**FALL) for layer in range(1, falling + 1)]
        return shares if sizes.reads_all else [*shares, max(0.0, 1.0 - position)]

    return family(solve(family, 2.0, target, lengths, sizes, protected))


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
    family: Callable[[float], Sequence[float]], end: float, target: float, lengths: np.ndarray, sizes: flops.Sizes,
    protected: np.ndarray | float = 1.0,
) -> float:  # fmt: skip
    """The position, from 0 to ``end``, at which a family of falling shares costs ``target``, by bisection.

    Costs must fall from 0 to ``end``. Raises LTPError where they are above the target even there.
    """
    pairs = np.stack(np.broadcast_arrays(lengths, protected))
    (distinct, stay), counts = np.unique(pairs, axis=1, return_counts=True)  # far fewer; every training step asks
    least = cost(family(end), distinct, sizes, counts, stay)
    if target < least:
        what = "the first layer's attention alone is" if np.all(stay <= 1) else "the tokens that must stay take"
        raise LTPError(f"flops: {target} cannot be reached: {what} {least:.3f} of the FLOPs of this text; choose more")
    low, high = 0.0, end
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = cost(family(middle), distinct, sizes, counts, stay) > target
        low, high = (middle, high) if above else (low, middle)
    return high


def cost(
    shares: Sequence[float], lengths: np.ndarray, sizes: flops.Sizes, counts: np.ndarray | float = 1.0,
    protected: np.ndarray | float = 1.0,
) -> float:  # fmt: skip
    """Relative FLOPs of sentences of ``lengths`` (B,) that keep ``shares`` (L,) of their tokens after each layer.

    ``counts`` (B,): how often each sentence occurs; ``protected`` (B,): tokens that stay whatever the share, the first
    one at least.
    """
    tokens = np.maximum(np.outer(lengths, [1.0, *shares]), np.reshape(protected, (-1, 1)))  # (B, L + 1)
    dense = np.repeat(np.asarray(lengths)[:, None], len(shares), axis=1)
    pruned = flops.encoder_macs(tokens[:, :-1], tokens[:, 1:], sizes)
    return float((counts * pruned).sum() / (counts * flops.encoder_macs(dense, dense, sizes)).sum())

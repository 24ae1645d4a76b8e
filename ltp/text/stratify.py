"""Seeded, stratified splits: pure functions on numpy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


_BINS = 10  # strata of a regression: tenths of its scores


def strata(labels: Any, kind: str) -> np.ndarray:
    """(N,) stratum of each example: its class, or which tenth of the scores it belongs to.

    Of questions it is whether there is an answer; sentences with a label for each word are all alike.
    """
    import numpy as np

    if kind in ("tokens", "spans"):
        return np.array([kind == "spans" and len(label) > 0 for label in labels], dtype=np.int64)
    labels = np.asarray(labels)
    if kind == "classification":
        return labels.astype(np.int64)
    ranks = labels.argsort(kind="stable").argsort(kind="stable")
    return ranks * _BINS // max(1, len(labels))


def shares(groups: np.ndarray, count: int) -> dict[int, int]:
    """How many of ``count`` examples each stratum gives: its share of all, rounded by largest remainder."""
    import numpy as np

    names, sizes = np.unique(groups, return_counts=True)
    quotas = sizes * count / len(groups)
    taken = np.floor(quotas).astype(int)
    rest = count - int(taken.sum())
    taken[np.argsort(-(quotas - taken), kind="stable")[:rest]] += 1
    return {int(name): int(number) for name, number in zip(names, taken, strict=True)}


def take(groups: np.ndarray, pool: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``count`` of the indices in ``pool``, stratified by ``groups``, in random order; and the indices left over."""
    import numpy as np

    if not 0 <= count <= len(pool):
        raise ValueError(f"{count} of {len(pool)}")
    if count == 0:
        return pool[:0], pool
    members, chosen = groups[pool], np.zeros(len(pool), dtype=bool)
    for name, number in shares(members, count).items():
        chosen[rng.permutation(np.flatnonzero(members == name))[:number]] = True
    return rng.permutation(pool[chosen]), pool[~chosen]


def cut(groups: np.ndarray, sizes: list[int], seed: int) -> list[np.ndarray]:
    """Disjoint, stratified index arrays of these sizes, taken in this order from all N examples.

    Earlier ones do not depend on the sizes of later ones: a longer training split leaves the test split as it is.
    """
    import numpy as np

    pool, parts = np.arange(len(groups)), []
    for place, size in enumerate(sizes):
        part, pool = take(groups, pool, size, np.random.default_rng([seed, place]))
        parts.append(part)
    return parts


def cut_groups(keys: Any, sizes: list[int | None], seed: int) -> list[np.ndarray]:
    """Disjoint index arrays of these sizes, with no key in two of them; None takes all that is left.

    Keys are taken in random order until they hold as many examples as are asked for; what the last one holds beyond
    that is left out. A part is shorter where the keys do not suffice.
    """
    import numpy as np
    import pandas as pd

    codes, unique = pd.factorize(np.asarray(keys, dtype=object))
    rng, parts, taken = np.random.default_rng([seed, len(sizes)]), [], 0
    order = rng.permutation(len(unique))
    counts = np.bincount(codes, minlength=len(unique))[order].cumsum()
    for size in sizes:
        before = counts[taken - 1] if taken else 0
        end = len(order) if size is None else min(len(order), int(np.searchsorted(counts, before + size)) + 1)
        members = np.flatnonzero(np.isin(codes, order[taken:end]))
        parts.append(rng.permutation(members)[:size])
        taken = end
    return parts


def halve(groups: np.ndarray, keys: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two stratified halves of all N examples (indices), with no key in both: repeats of a text stay together."""
    import numpy as np
    import pandas as pd

    codes, unique = pd.factorize(np.asarray(keys, dtype=object))
    first = np.unique(codes, return_index=True)[1]  # a key belongs to the stratum of its first example
    (chosen,) = cut(np.asarray(groups)[first], [(len(unique) + 1) // 2], seed)
    in_first = np.isin(codes, chosen)
    return np.flatnonzero(in_first), np.flatnonzero(~in_first)

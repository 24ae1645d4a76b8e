"""The metrics of ltp.training.metrics on many bootstrap draws of the examples at once.

A draw is how often each example occurs in a sample with replacement, so a metric of a draw is the metric with weights:
counts (B, N) times columns that depend on the examples alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltp.analysis.ratios import RATIOS
from ltp.common.errors import LTPError
from ltp.settings.tasks import CLASSIFICATION_METRICS, METRICS

Array = NDArray[Any]
CELLS = 4_000_000  # numbers held at once while drawing, so that a large test set takes no more memory
CONSTANT = 1e-12  # variance over mean square below which values count as equal: what rounding leaves of zero


def resampled_scores(
    metrics: Sequence[str],
    labels: Sequence[Any] | Array,
    predictions: Sequence[Any] | Array,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Scores of R runs on the examples (R,), and on each of B draws of them (R, B).

    ``metrics``: one metric of ltp.settings.tasks, or several whose mean is the score. ``labels`` (N,);
    ``predictions`` (R, N). All runs are scored on the same draws. Raises LTPError for an unknown metric or rows of
    different lengths.
    """
    unknown = set(metrics) - set(METRICS) | {"mean"} & set(metrics)
    if unknown or not metrics:
        expected = ", ".join(name for name in METRICS if name != "mean")
        raise LTPError(f"metrics: {sorted(unknown)} cannot be resampled; expected some of {expected}")
    if len(predictions) == 0 or any(len(row) != len(labels) for row in predictions) or len(labels) == 0:
        lengths = [len(row) for row in predictions]
        raise LTPError(f"predictions: rows of {lengths} for {len(labels)} labels; expected as many, at least one")
    if set(metrics) <= set(RATIOS):
        return _ratios(metrics, labels, predictions, resamples, rng)
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    score = _classification if set(metrics) <= set(CLASSIFICATION_METRICS) else _regression
    return score(metrics, labels, predictions, resamples, rng)


def _blocks(resamples: int, width: int) -> Iterator[int]:
    """Sizes of the blocks in which draws of this width are made."""
    size = max(1, CELLS // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _classification(
    metrics: Sequence[str], labels: Array, predictions: Array, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    # Examples with the same label and the same prediction by every run are interchangeable: drawing how often
    # each such group occurs (multinomial) is drawing examples with replacement, at a cost that hardly grows with N.
    classes, codes = np.unique(np.vstack([labels[None], predictions]), return_inverse=True)
    codes = codes.reshape(len(predictions) + 1, len(labels))
    groups, sizes = np.unique(codes, axis=1, return_counts=True)  # (1 + R, K), (K,)

    truth, width = groups[:1], len(classes)
    together = max(1, CELLS // (max(len(sizes), resamples) * width))  # runs that are counted at once

    def scored(counts: Array) -> Array:
        true, scores = (counts @ _one_hot(truth, width))[:, None], []  # (b, 1, C)
        for start in range(1, len(groups), together):
            rows = groups[start : start + together]  # (r, K)
            shape = (len(counts), len(rows), width)
            predicted = (counts @ _one_hot(rows, width)).reshape(shape)
            right = (counts @ _one_hot(rows, width, rows == truth)).reshape(shape)
            found = [_from_counts(name, true, predicted, right, classes) for name in metrics]
            scores.append(np.mean(found, axis=0).T)
        return np.concatenate(scores)

    share = sizes / sizes.sum()
    drawn = [
        scored(rng.multinomial(len(labels), share, size=size).astype(float)) for size in _blocks(resamples, len(sizes))
    ]
    return scored(sizes[None].astype(float))[:, 0], np.concatenate(drawn, axis=1)


def _one_hot(codes: Array, classes: int, chosen: Array | bool = True) -> Array:
    """(K, r·C) 1 at the class of each of the ``chosen`` codes (r, K), 0 elsewhere."""
    cells = np.zeros((codes.shape[1], len(codes), classes))
    cells[np.arange(codes.shape[1]), np.arange(len(codes))[:, None], codes] = chosen
    return cells.reshape(len(cells), -1)


def _from_counts(metric: str, true: Array, predicted: Array, right: Array, classes: Array) -> Array:
    """A metric (b, r) of r runs in b draws; 0 where it is undefined, as in ltp.training.metrics.

    ``true`` (b, 1, C), ``predicted`` and ``right`` (b, r, C) count each class's examples: those that are of it, those
    that a run takes for it, and both at once.
    """
    total, hits = true.sum(2), right.sum(2)  # (b, 1), (b, r)
    if metric == "accuracy":
        return np.asarray(hits / total)
    if metric == "matthews":  # Gorodkin's form for any number of classes
        covariance = hits * total - (true * predicted).sum(2)
        spread = (total**2 - (true**2).sum(2)) * (total**2 - (predicted**2).sum(2))
        return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)
    seen = true + predicted > 0
    f1: Array = 2 * right / np.where(seen, true + predicted, 1)
    if metric == "f1":
        return np.asarray(f1[..., classes == 1].sum(2))
    return np.asarray(f1.sum(2) / seen.sum(2))


def _regression(
    metrics: Sequence[str], labels: Array, predictions: Array, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    size = len(labels)

    def scored(counts: Array) -> Array:
        found = [_correlations(name, labels, predictions, counts) for name in metrics]
        return np.asarray(np.mean(found, axis=0))

    drawn = [scored(counts) for counts in _draws(resamples, size, rng)]
    return scored(np.ones((size, 1)))[:, 0], np.concatenate(drawn, axis=1)


def _draws(resamples: int, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """How often each of N examples occurs in each of b draws (N, b), block after block."""
    for rows in _blocks(resamples, size):
        chosen = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * size).reshape(rows, size)
        yield np.ascontiguousarray(counts.T, float)


def _ratios(
    metrics: Sequence[str], labels: Any, predictions: Any, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Of metrics that are a ratio of two sums over the examples; labels and predictions may be lists of any length."""
    parts = np.array(
        [[[RATIOS[name](*pair) for pair in zip(labels, row, strict=True)] for row in predictions] for name in metrics]
    )  # (metrics, R, N, 2)

    def scored(counts: Array) -> Array:
        above, below = parts[..., 0] @ counts, parts[..., 1] @ counts  # (metrics, R, b)
        return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0).mean(0))

    drawn = [scored(counts) for counts in _draws(resamples, len(labels), rng)]
    return scored(np.ones((len(labels), 1)))[:, 0], np.concatenate(drawn, axis=1)


def _correlations(metric: str, labels: Array, predictions: Array, counts: Array) -> Array:
    """Correlation of labels (N,) with the predictions (R, N) of each run on each draw (N, b): (R, b); 0 if undefined.

    Spearman's is Pearson's correlation of the ranks within the draw.
    """
    if metric == "pearson":
        return np.array([_pearson(labels, row, counts) for row in predictions])
    ranks, squares = _ranks(labels, counts)
    weighted = counts * ranks
    found = []
    for row in predictions:
        others, others_squares = _ranks(row, counts)  # ranks have mean 0, so sums of products are covariances
        found.append(_ratio(np.einsum("nb,nb->b", weighted, others), squares, others_squares))
    return np.array(found)


def _pearson(x: Array, y: Array, counts: Array) -> Array:
    x, y = x - x.mean(), y - y.mean()
    total, columns = counts.sum(0), np.array([x, y, x * y, x * x, y * y])
    of_x, of_y, of_xy, of_xx, of_yy = columns @ counts  # (b,) each
    left, right = of_xx - of_x**2 / total, of_yy - of_y**2 / total
    left, right = (
        np.where(variance > CONSTANT * square, variance, 0.0) for variance, square in ((left, of_xx), (right, of_yy))
    )
    return _ratio(of_xy - of_x * of_y / total, left, right)


def _ratio(covariance: Array, left: Array, right: Array) -> Array:
    """Correlation from a covariance and two variances; 0 where one of them is 0."""
    varied = (left > 0) & (right > 0)
    return np.where(varied, covariance / np.sqrt(np.where(varied, left * right, 1.0)), 0.0)


def _ranks(values: Array, counts: Array) -> tuple[Array, Array]:
    """Ranks of values (N,) within each draw (N, b), from −1/2 to 1/2, and the sums of their squares (b,).

    Equal values share their mean rank.
    """
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(len(distinct)))
    sizes = np.add.reduceat(counts[order], first, axis=0)  # (distinct values, b)
    ranks = (np.cumsum(sizes, axis=0) - sizes / 2) / counts.sum(0) - 0.5
    squares = np.einsum("ub,ub,ub->b", sizes, ranks, ranks)
    single = (sizes > 0).sum(0) == 1  # one value alone: no variance, whatever rounding leaves
    return ranks[group], np.where(single, 0.0, squares)

"""How far chance alone could move a score: paired bootstrap over the examples.

Percentile bootstrap (Efron, 1979). Examples are drawn with replacement, and every run of a comparison is scored
on the same draws, so what two methods get wrong together cancels out of their difference. Several seeds share
each draw: the score of a method is its mean over seeds, and the interval says what another test set of this size
might give; the spread over seeds is reported apart, as a standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ltp.common.errors import LTPError
from ltp.settings.tasks import CLASSIFICATION_METRICS, REGRESSION_METRICS

RESAMPLES = 2000
LEVEL = 0.95
CELLS = 4_000_000  # numbers held at once while drawing, so that a large test set takes no more memory


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    estimate: float
    low: float
    high: float

    def in_points(self) -> Interval:
        """The same of fractions × 100."""
        return Interval(*(100 * value for value in self))


def score_interval(
    metrics: Sequence[str], labels: Sequence, predictions: Sequence[Sequence], resamples: int = RESAMPLES
) -> Interval:
    """The score of a method, its mean over seeds, with a confidence interval.

    ``metrics``: one metric of ltp.tasks, or several whose mean is the score. ``labels`` (N,); ``predictions``
    (S, N), one row a seed. Raises LTPError for an unknown metric or rows of different lengths.
    """
    exact, drawn = _scores(metrics, labels, predictions, resamples)
    return _interval(exact.mean(), drawn.mean(0))


def difference_interval(
    metrics: Sequence[str],
    labels: Sequence,
    predictions: Sequence[Sequence],
    baseline: Sequence[Sequence],
    resamples: int = RESAMPLES,
) -> Interval:
    """Score of ``predictions`` (S, N) minus score of ``baseline`` (S', N) on the same examples, paired.

    Arguments and errors as in :func:`score_interval`.
    """
    exact, drawn = _scores(metrics, labels, [*predictions, *baseline], resamples)
    count = len(predictions)
    return _interval(exact[:count].mean() - exact[count:].mean(), drawn[:count].mean(0) - drawn[count:].mean(0))


def _interval(estimate: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(estimate), float(low), float(high))


def _scores(metrics, labels, predictions, resamples) -> tuple[np.ndarray, np.ndarray]:
    """Scores of R runs on the examples (R,), and on each of B draws of them (R, B)."""
    unknown = set(metrics) - set(CLASSIFICATION_METRICS) - set(REGRESSION_METRICS)
    if unknown or not metrics:
        expected = ", ".join(CLASSIFICATION_METRICS + REGRESSION_METRICS)
        raise LTPError(f"metrics: {sorted(unknown)} cannot be resampled; expected some of {expected}")
    if len(predictions) == 0 or any(len(row) != len(labels) for row in predictions) or len(labels) == 0:
        lengths = [len(row) for row in predictions]
        raise LTPError(f"predictions: rows of {lengths} for {len(labels)} labels; expected as many, at least one")
    rng = np.random.default_rng(0)
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if set(metrics) <= set(CLASSIFICATION_METRICS):
        return _classification(metrics, labels, predictions, resamples, rng)
    return _regression(metrics, labels, predictions, resamples, rng)


def _classification(metrics, labels, predictions, resamples, rng) -> tuple[np.ndarray, np.ndarray]:
    # Examples with the same label and the same prediction by every run are interchangeable: drawing how often
    # each such group occurs (multinomial) is drawing examples with replacement, at a cost that hardly grows with N.
    classes, codes = np.unique(np.vstack([labels[None], predictions]), return_inverse=True)
    codes = codes.reshape(len(predictions) + 1, len(labels))
    groups, sizes = np.unique(codes, axis=1, return_counts=True)  # (1 + R, K), (K,)
    draws = rng.multinomial(len(labels), sizes / sizes.sum(), size=resamples)  # (B, K)
    counts = np.vstack([sizes[None], draws]).astype(float)  # the first row is the examples as they are
    scores = []
    for row in groups[1:]:
        cells = np.zeros((len(row), len(classes) ** 2))
        cells[np.arange(len(row)), groups[0] * len(classes) + row] = 1
        confusion = (counts @ cells).reshape(-1, len(classes), len(classes))  # (1 + B, label, prediction)
        scores.append(np.mean([_from_confusion(name, confusion, classes) for name in metrics], axis=0))
    scores = np.array(scores)
    return scores[:, 0], scores[:, 1:]


def _from_confusion(metric: str, confusion: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """A metric of each of (B, C, C) confusion matrices; 0 where it is undefined, as ltp.tasks has it."""
    right = np.diagonal(confusion, axis1=1, axis2=2)  # (B, C)
    true, predicted = confusion.sum(2), confusion.sum(1)  # (B, C)
    total = true.sum(1)
    if metric == "accuracy":
        return right.sum(1) / total
    if metric == "matthews":  # Gorodkin's form for any number of classes
        covariance = right.sum(1) * total - (true * predicted).sum(1)
        spread = (total**2 - (true**2).sum(1)) * (total**2 - (predicted**2).sum(1))
        return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)
    seen = true + predicted > 0
    f1 = 2 * right / np.where(seen, true + predicted, 1)
    if metric == "f1":
        return f1[:, classes == 1].sum(1)
    return f1.sum(1) / seen.sum(1)


def _regression(metrics, labels, predictions, resamples, rng) -> tuple[np.ndarray, np.ndarray]:
    exact = _correlations(metrics, labels[None], predictions[:, None])
    block = max(1, CELLS // predictions.size)
    drawn = []
    for start in range(0, resamples, block):
        chosen = rng.integers(len(labels), size=(min(block, resamples - start), len(labels)))  # (b, N)
        drawn.append(_correlations(metrics, labels[chosen], predictions[:, chosen]))
    return exact[:, 0], np.concatenate(drawn, axis=1)


def _correlations(metrics, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Mean of correlations of labels (b, N) with each run's predictions (R, b, N): (R, b)."""
    return np.mean([[_correlation(name, labels, row) for row in predictions] for name in metrics], axis=0)


def _correlation(metric: str, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    if metric == "spearman":
        from scipy.stats import rankdata

        labels, predictions = rankdata(labels, axis=-1), rankdata(predictions, axis=-1)
    x = labels - labels.mean(-1, keepdims=True)
    y = predictions - predictions.mean(-1, keepdims=True)
    varied = (np.ptp(labels, axis=-1) > 0) & (np.ptp(predictions, axis=-1) > 0)
    spread = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.where(varied, (x * y).sum(-1) / np.where(varied, spread, 1), 0.0)

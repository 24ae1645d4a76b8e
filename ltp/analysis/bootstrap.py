"""How far chance could move a score: paired bootstrap over the examples, and over the seeds where there are several.

Percentile bootstrap (Efron, 1979). Examples are drawn with replacement, and every run of a comparison is scored
on the same draws, so what two methods get wrong together cancels out of their difference. With several seeds each
draw also draws as many seeds, with replacement, and a method's score is its mean over them: the interval then says
what other test examples *and* other trainings might give. The seeds of a draw are the same for every method, since
runs of a seed start from the same dense model. Few seeds vary less among themselves than many would: of S seeds the
bootstrap sees (S - 1)/S of the variance, so that intervals of two or three seeds are still too narrow. With one seed
the training is not in the interval at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ltp.analysis.resample import Array, resampled_scores
from ltp.common.errors import LTPError

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    estimate: float
    low: float
    high: float

    def in_points(self) -> Interval:
        """The same of fractions × 100."""
        return Interval(*(100 * value for value in self))


def score_interval(metrics: Sequence[str], labels: Array, predictions: Array, resamples: int = RESAMPLES) -> Interval:
    """The score of a method, its mean over seeds, with a confidence interval.

    ``metrics``: one metric of ltp.settings.tasks, or several whose mean is the score. ``labels`` (N,);
    ``predictions`` (S, N), one row a seed. Raises LTPError for an unknown metric or rows of different lengths.
    """
    exact, drawn = resampled_scores(metrics, labels, predictions, resamples, np.random.default_rng(0))
    return interval_of(exact.mean(), mean_over_seeds(drawn[None])[0])


def difference_interval(
    metrics: Sequence[str], labels: Array, predictions: Array, baseline: Array, resamples: int = RESAMPLES
) -> Interval:
    """Score of ``predictions`` (S, N) minus score of ``baseline`` (S, N) on the same examples and seeds, paired.

    Rows are in the order of the seeds. Arguments and errors as in :func:`score_interval`.
    """
    count = len(predictions)
    if len(baseline) != count:
        raise LTPError(f"baseline: {len(baseline)} seeds for {count} of predictions; expected the same seeds")
    exact, drawn = resampled_scores(metrics, labels, [*predictions, *baseline], resamples, np.random.default_rng(0))
    method, dense = mean_over_seeds(drawn.reshape(2, count, resamples))
    return interval_of(exact[:count].mean() - exact[count:].mean(), method - dense)


def mean_over_seeds(drawn: Array) -> Array:
    """Scores (M, S, B) of M methods' S seeds on B draws → the methods' scores (M, B): the mean of S drawn seeds.

    A draw takes the same seeds of every method.
    """
    _, seeds, resamples = drawn.shape
    rng = np.random.default_rng([0, seeds])
    taken = rng.integers(seeds, size=(resamples, seeds)) if seeds > 1 else np.zeros((resamples, 1), int)
    return np.asarray(drawn[:, taken.T, np.arange(resamples)].mean(1))  # (M, S, B) → (M, B)


def interval_of(estimate: float, drawn: Array) -> Interval:
    """An estimate with the quantiles of its values on the draws (B,)."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(estimate), float(low), float(high))

"""What the runs of settings answered, for resampling: labels, predictions, and the metrics that score them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ltp.analysis.resample import Array
from ltp.analysis.study import Setting
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.results.run import RunManifest, read_predictions
from ltp.settings.tasks import METRICS


class Answers(NamedTuple):
    """A split's labels (N,) and, for each setting, the predictions of its runs (S, N), in the order of the seeds."""

    labels: Array
    predictions: list[Array]


def read_answers(settings: Sequence[Setting], split: str) -> Answers:
    """The answers of settings on a split. Raises LTPError where files are damaged or runs differ in their labels."""
    labels: list[Any] | None = None
    predictions = []
    for setting in settings:
        rows = []
        for run in setting.runs:
            found = read_predictions(run.directory)[split]
            if labels is None:
                labels = found["labels"]
            elif found["labels"] != labels:
                first = settings[0].runs[0].directory
                raise LTPError(f"{shown(run.directory)}: has other {split} labels than {shown(first)}; delete one")
            rows.append(_array(found["predictions"]))
        predictions.append(np.stack(rows))
    return Answers(_array(labels or []), predictions)


def _array(values: Sequence[Any]) -> Array:
    """(N,) values, of which each may be a list."""
    if not values or not isinstance(values[0], list):
        return np.array(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def resampled_metrics(metrics: RunManifest) -> list[str]:
    """The metrics whose mean is the score: the primary one; for GLUE's ``mean``, those that it is the mean of."""
    primary = metrics["primary_metric"]
    if primary != "mean":
        return [primary]
    return [name for name in metrics["metrics"]["test"] if name in METRICS and name != "mean"]

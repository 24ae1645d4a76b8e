"""Scores of predictions, by the metrics that a task names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ltp.analysis.ratios import RATIOS
from ltp.common.errors import LTPError
from ltp.settings.tasks import Task

if TYPE_CHECKING:
    import numpy as np


def compute_metrics(task: Task | Mapping[str, Any], predictions: Any, labels: Any) -> dict[str, float]:
    """Score predictions against labels by the task's own metrics, as fractions.

    ``task`` is a Task or the information in task.json. ``predictions`` are (N,) classes or scores, or (N, C) logits;
    ``labels`` (N,). Of kind tokens both are N lists of label names, one a word; of kind spans ``predictions`` are N
    texts and ``labels`` N lists of right answers (none: the passage does not answer the question). Constant
    predictions score 0 in correlations and F1, not NaN. Raises LTPError for no examples, for different numbers of
    them, and for predictions that are not finite.
    """
    import numpy as np

    kind, names = (task.kind, task.metrics) if isinstance(task, Task) else (task["kind"], task["metrics"])
    lists = kind in ("tokens", "spans")
    if not lists:
        predictions, labels = np.asarray(predictions), np.asarray(labels)
        if predictions.ndim == 2:
            predictions = predictions.argmax(1) if kind == "classification" else predictions[:, 0]
    if len(labels) == 0 or len(predictions) != len(labels):
        raise LTPError(f"predictions: {len(predictions)} for {len(labels)} labels; expected as many, and at least one")
    if not lists and not np.isfinite(predictions).all():
        raise LTPError("predictions: some are not finite numbers; the training diverged, try a lower learning rate")
    scores = {name: float(_FUNCTIONS[name](labels, predictions)) for name in names if name != "mean"}
    if "mean" in names:
        scores["mean"] = sum(scores.values()) / len(scores)
    return scores


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return (labels == predictions).mean()  # scikit-learn takes a second to import, in every run


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of class 1, as GLUE scores MRPC and QQP."""
    from sklearn.metrics import f1_score

    return f1_score(labels, predictions, zero_division=0)


def _macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(labels, predictions, average="macro", zero_division=0)


def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    if (labels == labels[0]).all() or (predictions == predictions[0]).all():
        return 0.0  # by definition; asked apart, since scikit-learn warns of a single label
    return matthews_corrcoef(labels, predictions)


def _correlation(function: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    import numpy as np
    from scipy import stats

    # A correlation with a constant is 0/0; scored 0, so that a collapsed run ranks last instead of spoiling a table.
    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    value = getattr(stats, function)(predictions.astype(float), labels.astype(float)).statistic
    return float(value) if np.isfinite(value) else 0.0


def _entity_f1(labels: Sequence[list[str]], predictions: Sequence[list[str]]) -> float:
    from seqeval.metrics import f1_score

    return f1_score(labels, predictions, zero_division=0)


def _sums(metric: str, labels: Sequence[Any], predictions: Sequence[Any]) -> float:
    """A metric of ltp.analysis.ratios."""
    above, below = map(sum, zip(*map(RATIOS[metric], labels, predictions), strict=True))
    return above / below if below else 0.0


_FUNCTIONS: dict[str, Callable[..., float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
    "pearson": lambda labels, predictions: _correlation("pearsonr", labels, predictions),
    "spearman": lambda labels, predictions: _correlation("spearmanr", labels, predictions),
    "entity_f1": _entity_f1,
    "token_accuracy": lambda labels, predictions: _sums("token_accuracy", labels, predictions),
    "answer_f1": lambda labels, predictions: _sums("answer_f1", labels, predictions),
    "exact_match": lambda labels, predictions: _sums("exact_match", labels, predictions),
}

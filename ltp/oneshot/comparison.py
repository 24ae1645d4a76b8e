"""One budget's answers beside the original's: what the report holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltp.oneshot import agreement, ranking
from ltp.oneshot.texts import Texts
from ltp.training.outputs import as_predictions


def compare_answers(kept: Texts, texts: Sequence[str], logits: np.ndarray, pruned: np.ndarray) -> dict[str, Any]:
    """``agreement``, ``scores`` (with true labels), ``changes`` and ``examples`` of the texts kept aside.

    ``logits`` (N, C) are the original's outputs, ``pruned`` (N,) the pruned model's answers.
    """
    kind, labels = kept.task.kind, kept.task.labels
    original = as_predictions(logits, kind == "regression")
    truth = kept.frame["label"].to_numpy() if kept.labelled else None
    if (queries := kept.queries) is not None:
        return _rankings(kept, queries, original, pruned, truth)
    return {
        "agreement": [agreement.agreement(kind, original, pruned)],
        "scores": [] if truth is None else [agreement.scores(kept.task.primary_metric, truth, original, pruned)],
        "changes": [] if labels is None else agreement.changes(original, pruned, labels),
        "examples": agreement.examples(texts, original, pruned, logits, labels),
    }


def _rankings(
    kept: Texts, queries: np.ndarray, original: np.ndarray, pruned: np.ndarray, relevance: np.ndarray | None
) -> dict[str, Any]:
    """The same of a reranker: rankings of each query's candidates."""
    firsts, seconds = ([agreement.head(text) for text in kept.frame[name]] for name in ("text", "text_pair"))
    worst = ranking.worst_queries(queries, firsts, seconds, original, pruned, agreement.MOST_EXAMPLES)
    return {
        "agreement": ranking.ranking_agreement(queries, original, pruned),
        "scores": [] if relevance is None else ranking.ranking_scores(queries, relevance, original, pruned),
        "changes": [],
        "examples": worst,
    }

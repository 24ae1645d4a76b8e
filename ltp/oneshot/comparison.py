"""One budget's answers beside the original's: what the report holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltp.oneshot import agreement
from ltp.oneshot.texts import Texts
from ltp.training.trainer import as_predictions


def compare_answers(kept: Texts, texts: Sequence[str], logits: np.ndarray, pruned: np.ndarray) -> dict[str, Any]:
    """``agreement``, ``scores`` (with true labels), ``changes`` and ``examples`` of the texts kept aside.

    ``logits`` (N, C) are the original's outputs, ``pruned`` (N,) the pruned model's answers.
    """
    kind, labels = kept.task.kind, kept.task.labels
    original = as_predictions(logits, kind == "regression")
    found: dict[str, Any] = {
        "agreement": [agreement.agreement(kind, original, pruned)],
        "scores": [],
        "changes": [] if labels is None else agreement.changes(original, pruned, labels),
        "examples": agreement.examples(texts, original, pruned, logits, labels),
    }
    if kept.labelled:
        truth = kept.frame["label"].to_numpy()
        found["scores"] = [agreement.scores(kept.task.primary_metric, truth, original, pruned)]
    return found

"""How far a pruned model gives the original's answers, and what goes wrong most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import softmax

from ltp.analysis.bootstrap import Interval, difference_interval, score_interval

MOST_CHANGES, MOST_EXAMPLES, SHOWN = 5, 3, 90


def share(agreeing: int, count: int) -> Interval:
    """A share with its 95 % interval by Wilson's score method, which is honest near 1, as agreement is."""
    found = stats.binomtest(agreeing, count).proportion_ci(0.95, method="wilson")
    return Interval(agreeing / count, float(found.low), float(found.high))


def agreement(kind: str, original: np.ndarray, pruned: np.ndarray) -> dict[str, Any]:
    """Of two sets of answers (N,): the share that is equal, or for a ``regression`` their correlation."""
    if kind == "classification":
        same = int((original == pruned).sum())
        return {"name": "answers as the original's", **share(same, len(original))._asdict(), "equal": same}
    interval = score_interval(["pearson"], original, pruned[None])
    off = float(np.abs(original - pruned).mean())
    return {"name": "Pearson correlation with the original's", **interval._asdict(), "mean_difference": off}


def scores(metric: str, labels: np.ndarray, original: np.ndarray, pruned: np.ndarray) -> dict[str, Any]:
    """Both models' scores against true labels (N,), and their difference, with bootstrap intervals."""
    return {
        "metric": metric,
        "original": score_interval([metric], labels, original[None])._asdict(),
        "pruned": score_interval([metric], labels, pruned[None])._asdict(),
        "difference": difference_interval([metric], labels, pruned[None], original[None])._asdict(),
    }


def changes(original: np.ndarray, pruned: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Which classes change into which, the most frequent first, and how many texts had the first class."""
    had = Counter(original.tolist())
    pairs = Counter((a, b) for a, b in zip(original.tolist(), pruned.tolist(), strict=True) if a != b)
    return [
        {"original": labels[a], "pruned": labels[b], "texts": count, "of": had[a]}
        for (a, b), count in pairs.most_common(MOST_CHANGES)
    ]


def examples(
    texts: Sequence[str], original: np.ndarray, pruned: np.ndarray, logits: np.ndarray, labels: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Texts whose answers differ most: where the original (logits (N, C)) was surest, or the numbers farthest apart."""
    if labels is None:
        worst = np.argsort(-np.abs(original - pruned), kind="stable")[:MOST_EXAMPLES]
        return [
            {"text": head(texts[i]), "original": f"{original[i]:.2f}", "pruned": f"{pruned[i]:.2f}"}
            for i in map(int, worst)
        ]
    sure = softmax(logits, 1).max(1)
    changed = np.flatnonzero(original != pruned)
    worst = changed[np.argsort(-sure[changed], kind="stable")][:MOST_EXAMPLES]
    return [
        {
            "text": head(texts[i]), "original": labels[int(original[i])], "probability": float(sure[i]),
            "pruned": labels[int(pruned[i])],
        }
        for i in map(int, worst)
    ]  # fmt: skip


def head(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def texts_of(frame: Mapping[str, Any]) -> list[str]:
    """Each row's text, or its pair with a bar between."""
    firsts = list(frame["text"])
    return [f"{a} | {b}" for a, b in zip(firsts, frame["text_pair"], strict=True)] if "text_pair" in frame else firsts

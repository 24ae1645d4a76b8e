"""How far a pruned reranker ranks each query's candidates as the original does, and how well both rank them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ltp.analysis.bootstrap import RESAMPLES, interval_of

TOP = 10


def ranking_agreement(queries: np.ndarray, original: np.ndarray, pruned: np.ndarray) -> list[dict[str, Any]]:
    """Means over the queries with their intervals: Kendall's τ, overlap of the top, share with the same first.

    ``queries`` (N,) are the numbers of the rows' queries, ``original`` and ``pruned`` (N,) the scores. The top are ten
    candidates, or the better half where there are fewer than twenty. Queries with one candidate do not count.
    """
    rows = list(candidates(queries))
    few = min(map(len, rows)) < 2 * TOP
    measures: list[tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = [
        ("Kendall's τ with the original's ranking", kendall),
        (f"of the original's better half, at most {TOP}" if few else f"of the original's top {TOP}", overlap),
        ("queries with the same first candidate", lambda a, b: float(np.argmax(a) == np.argmax(b))),
    ]
    found = []
    for place, (name, measure) in enumerate(measures):
        values = np.array([measure(original[part], pruned[part]) for part in rows])
        found.append({"name": name, **_mean(values)._asdict(), "share": place > 0, "queries": len(rows)})
    return found


def ranking_scores(
    queries: np.ndarray, relevance: np.ndarray, original: np.ndarray, pruned: np.ndarray
) -> list[dict[str, Any]]:
    """NDCG@10 and MRR@10 of both models against judgements (N,), means over the queries that have a relevant candidate.

    A candidate is relevant where its judgement is above zero. NDCG is scikit-learn's. No such query: no scores.
    """
    rows = [part for part in candidates(queries) if (relevance[part] > 0).any()]
    if not rows:
        return []
    found = []
    for name, measure in ((f"NDCG@{TOP}", ndcg), (f"MRR@{TOP}", reciprocal_rank)):
        values = {
            which: np.array([measure(relevance[part], scores[part]) for part in rows])
            for which, scores in (("original", original), ("pruned", pruned))
        }
        values["difference"] = values["pruned"] - values["original"]
        found.append({"metric": name, **{which: _mean(each)._asdict() for which, each in values.items()}})
    return found


def candidates(queries: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each query that has several candidates."""
    order = np.argsort(queries, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(queries[order])) + 1):
        if len(part) > 1:
            yield part


def kendall(original: np.ndarray, pruned: np.ndarray) -> float:
    """Kendall's τ-b of two rankings (n,); 0 where one of them ranks nothing, since all of its scores are equal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(stats.kendalltau(original, pruned).statistic)
    return value if np.isfinite(value) else 0.0


def overlap(original: np.ndarray, pruned: np.ndarray) -> float:
    """Share of the original's top candidates that are among as many of the pruned model's."""
    count = min(TOP, max(1, len(original) // 2))
    tops = [set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in (original, pruned)]
    return len(tops[0] & tops[1]) / count


def ndcg(relevance: np.ndarray, scores: np.ndarray) -> float:
    """Normalised discounted cumulative gain of the ten best, by scikit-learn."""
    from sklearn.metrics import ndcg_score

    return float(ndcg_score(np.maximum(relevance, 0.0)[None], scores[None], k=TOP))


def reciprocal_rank(relevance: np.ndarray, scores: np.ndarray) -> float:
    """1 ÷ the rank of the first relevant candidate; 0 where it is not among the ten best."""
    hits = np.flatnonzero(relevance[np.argsort(-scores, kind="stable")][:TOP] > 0)
    return 1.0 / (1 + int(hits[0])) if len(hits) else 0.0


def worst_queries(
    queries: np.ndarray,
    firsts: Sequence[str],
    seconds: Sequence[str],
    original: np.ndarray,
    pruned: np.ndarray,
    most: int,
) -> list[dict[str, Any]]:
    """Queries whose first candidate changes, those that are ranked most differently first."""
    rows = [part for part in candidates(queries) if np.argmax(original[part]) != np.argmax(pruned[part])]
    rows.sort(key=lambda part: kendall(original[part], pruned[part]))
    return [
        {
            "text": firsts[part[0]],
            "original": seconds[part[int(np.argmax(original[part]))]],
            "pruned": seconds[part[int(np.argmax(pruned[part]))]],
        }
        for part in rows[:most]
    ]


def _mean(values: np.ndarray) -> Any:
    """The mean over queries with the quantiles of means over as many queries drawn with replacement."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    return interval_of(values.mean(), values[drawn].mean(1))

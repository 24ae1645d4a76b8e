"""matched.csv: what each method scores at equal FLOPs, so that no method wins by having more tries or another grid.

A method's curve runs along its frontier, picked on validation, to the dense model at 1.0; between two neighbouring
settings the test score is interpolated linearly over their test FLOPs. Intervals are those of ltp.analysis.bootstrap
over validation *and* test examples, drawn apart (also where one split is both, which widens them): in each draw the
frontier is picked anew on that draw's validation scores, so the luck of picking is in the interval. FLOPs are not
resampled: they are those of the splits as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltp.analysis.bootstrap import RESAMPLES, interval_of, mean_over_seeds
from ltp.analysis.frontier import frontier
from ltp.analysis.predictions import read_answers, resampled_metrics
from ltp.analysis.resample import Array, resampled_scores
from ltp.analysis.study import Setting, Study
from ltp.common.names import ALL_TASKS, LEARNED_METHODS, PRUNING_METHODS

MATCHED = "matched.csv"
SHARES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # FLOPs relative to the dense model's at which methods are compared


@dataclass
class MatchedRow:
    """A method's test score at given FLOPs, in points; ``_low`` and ``_high`` are 95 % intervals."""

    task: str
    model: str
    metric: str
    method: str
    relative_flops: float  # of the dense model's
    seeds: int
    score: float
    score_low: float
    score_high: float
    difference: float  # from the dense model, paired
    difference_low: float
    difference_high: float
    learned_minus: float | None = None  # the score of the first of LEARNED_METHODS with rows, minus this one, paired
    learned_minus_low: float | None = None
    learned_minus_high: float | None = None


@dataclass(frozen=True)
class Curves:
    """A study's test scores at SHARES (S) of the dense FLOPs, as they are and on each of B draws.

    ``dense`` is (1 + B,), ``of`` maps each method to (1 + B, S), ``reached`` to the indices of the shares it reaches.
    """

    study: Study
    dense: Array
    of: dict[str, Array]
    reached: dict[str, list[int]]


def curves_of(study: Study, resamples: int = RESAMPLES) -> Curves | None:
    """The curves of a study's methods; None without a dense model or methods that prune.

    Raises LTPError where predictions are damaged.
    """
    dense = study.dense
    methods = [method for method in PRUNING_METHODS if study.of(method)]
    if dense is None or not methods:
        return None
    settings = [dense, *(setting for method in methods for setting in study.of(method))]
    validation, test = (_scores(settings, split, resamples) for split in ("validation", "test"))  # (M, 1 + B) each
    curves = Curves(study, test[0], {}, {})
    for method in methods:
        members = [0, *(i for i, setting in enumerate(settings) if setting.method == method)]
        own = [settings[i] for i in members]
        curves.of[method] = _curve(own, validation[members], test[members])
        cheapest = min(setting.flops("test") for setting in own[1:] if setting.on_frontier)
        curves.reached[method] = [k for k, share in enumerate(SHARES) if share >= cheapest - 1e-9]
    return curves


def matched_rows(curves: Curves) -> list[MatchedRow]:
    """The rows of a study: for each method, the shares of SHARES that its curve reaches."""
    study = curves.study
    assert study.dense is not None  # or there were no curves
    return _rows((study.task, study.model, study.metric), len(study.dense.runs), curves)


def mean_rows(several: Sequence[Curves]) -> list[MatchedRow]:
    """Rows of the mean over a model's tasks, at the shares that a method reaches on all of them; task ``all``.

    The tasks are taken as they are, their examples and seeds drawn for each apart. None for fewer than two tasks.
    """
    rows = []
    for model in dict.fromkeys(curves.study.model for curves in several):
        tasks = [curves for curves in several if curves.study.model == model]
        methods = [method for method in PRUNING_METHODS if all(method in curves.of for curves in tasks)]
        if len(tasks) < 2 or not methods:
            continue
        orders = [_independent(number, len(curves.dense)) for number, curves in enumerate(tasks)]
        together = Curves(tasks[0].study, _mean([c.dense[o] for c, o in zip(tasks, orders, strict=True)]), {}, {})
        for method in methods:
            together.of[method] = _mean([c.of[method][o] for c, o in zip(tasks, orders, strict=True)])
            together.reached[method] = sorted(set.intersection(*(set(curves.reached[method]) for curves in tasks)))
        seeds = min(len(curves.study.dense.runs) for curves in tasks if curves.study.dense)
        rows += _rows((ALL_TASKS, model, f"mean of {len(tasks)} tasks"), seeds, together)
    return rows


def _independent(number: int, size: int) -> Array:
    """An order of the draws of one task, the scores as they are (index 0) first: draws of tasks are not related."""
    return np.array([0, *(1 + np.random.default_rng([1, number]).permutation(size - 1))])


def _mean(arrays: Sequence[Array]) -> Array:
    return np.asarray(np.mean(arrays, axis=0))


def _rows(what: tuple[str, str, str], seeds: int, curves: Curves) -> list[MatchedRow]:
    rows = []
    learned = next((method for method in LEARNED_METHODS if curves.reached.get(method)), None)
    for method, of_method in curves.of.items():
        for k in curves.reached[method]:
            curve = of_method[:, k]
            score, difference = (interval_of(of[0], of[1:]) for of in (curve, curve - curves.dense))
            row = MatchedRow(*what, method, SHARES[k], seeds, *score, *difference)
            if learned and method != learned and k in curves.reached[learned]:
                gap = curves.of[learned][:, k] - curve
                row.learned_minus, row.learned_minus_low, row.learned_minus_high = interval_of(gap[0], gap[1:])
            rows.append(row)
    return rows


def _scores(settings: Sequence[Setting], split: str, resamples: int) -> Array:
    """Scores in points of M settings: on the split as it is, then on each of B draws of it and the seeds (M, 1 + B)."""
    metrics = settings[0].runs[0].metrics
    assert metrics is not None  # final runs have them
    labels, predictions = read_answers(settings, split)
    rng = np.random.default_rng([0, split == "test"])
    _, drawn = resampled_scores(resampled_metrics(metrics), labels, np.concatenate(predictions), resamples, rng)
    means = mean_over_seeds(drawn.reshape(len(settings), len(settings[0].runs), resamples))
    return np.hstack([[[setting.score(split)] for setting in settings], 100 * means])


def _curve(settings: Sequence[Setting], validation: Array, test: Array) -> Array:
    """Test scores at SHARES of a method's curve, on each of D draws: (D, len(SHARES)).

    ``settings``: dense, then the method's M - 1; ``validation`` and ``test``: their scores (M, D). Below its cheapest
    setting a curve is flat; only in a draw whose frontier ends earlier can that matter.
    """
    costs = [setting.flops("validation") for setting in settings[1:]]
    places = np.array([setting.flops("test") for setting in settings])
    found = np.empty((validation.shape[1], len(SHARES)))
    for draw, (picked_by, scores) in enumerate(zip(validation[1:].T, test.T, strict=True)):
        kept = np.array([0, *(1 + i for i in frontier(list(zip(picked_by, costs, strict=True))))])
        kept = kept[np.argsort(places[kept], kind="stable")]
        found[draw] = np.interp(SHARES, places[kept], scores[kept])
    return found

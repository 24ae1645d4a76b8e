"""The bootstrap: agrees with ltp.tasks on the examples as they are, pairs what it compares, covers what it should."""

import tracemalloc

import numpy as np
import pytest
from helpers.fake_study import predictions as predict
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.analysis.bootstrap import difference_interval, score_interval
from ltp.common.errors import LTPError
from ltp.settings.tasks import METRICS_OF
from ltp.training.metrics import compute_metrics

METRICS = [
    ("accuracy",), ("f1",), ("macro_f1",), ("matthews",), ("accuracy", "f1"), ("pearson",), ("spearman",),
    ("entity_f1",), ("token_accuracy",), ("answer_f1",), ("exact_match",), ("answer_f1", "exact_match"),
]  # fmt: skip


def kind_of(metrics):
    return next(kind for kind, names in METRICS_OF.items() if set(metrics) <= set(names))


def examples(metrics, size=200, classes=2, seed=0):
    """Labels (N,) and two runs' predictions (2, N), made for these metrics."""
    rng = np.random.default_rng(seed)
    if kind_of(metrics) in ("tokens", "spans"):
        return lists(kind_of(metrics), size, rng)
    if kind_of(metrics) == "regression":
        labels = rng.integers(0, 26, size) / 5  # as in STS-B: with ties
        return labels, labels + rng.normal(size=(2, size))
    labels = rng.integers(0, classes, size)
    wrong = rng.random((2, size)) < 0.3
    return labels, np.where(wrong, rng.integers(0, classes, (2, size)), labels)


def lists(kind, size, rng):
    """The same for labels that are lists: tags of sentences of one to six words, or right answers."""
    labels, runs = np.empty(size, object), np.empty((2, size), object)
    for row in range(size):
        words = rng.choice(["O", "B-A", "I-A", "B-B"], rng.integers(1, 7), p=[0.5, 0.2, 0.2, 0.1]).tolist()
        wrong = [["O" if rng.random() < 0.3 else word for word in words] for _ in range(2)]
        if kind == "spans":
            words = [" ".join(words)] * int(rng.integers(0, 3))
            wrong = ["" if rng.random() < 0.2 else " ".join(found) for found in wrong]
        labels[row], runs[0, row], runs[1, row] = words, *wrong
    return labels, runs


@pytest.mark.parametrize(
    ("metrics", "classes"), [(m, 2) for m in METRICS] + [(m, 3) for m in (("accuracy",), ("macro_f1",), ("matthews",))]
)
def test_estimate_is_the_task_s_own_score(metrics, classes):
    labels, runs = examples(metrics, classes=classes)
    kind = kind_of(metrics)
    own = [compute_metrics({"kind": kind, "metrics": metrics}, run, labels) for run in runs]
    expected = np.mean([[scores[name] for name in metrics] for scores in own])
    interval = score_interval(metrics, labels, runs, resamples=100)
    assert interval.estimate == pytest.approx(expected, abs=1e-12)
    assert interval.low < interval.estimate < interval.high


@pytest.mark.parametrize("metrics", METRICS)
def test_fast_resampling_matches_the_plain_bootstrap(metrics):
    labels, runs = examples(metrics)
    kind = kind_of(metrics)
    rng = np.random.default_rng(1)
    plain = []
    for _ in range(300):
        drawn = rng.integers(len(labels), size=len(labels))
        scores = compute_metrics({"kind": kind, "metrics": metrics}, runs[0][drawn], labels[drawn])
        plain.append(np.mean([scores[name] for name in metrics]))
    low, high = np.quantile(plain, [0.025, 0.975])
    interval = score_interval(metrics, labels, runs[:1])
    assert interval.low == pytest.approx(low, abs=0.2 * (high - low))
    assert interval.high == pytest.approx(high, abs=0.2 * (high - low))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    runs=st.integers(1, 3),
    metric=st.sampled_from(["accuracy", "macro_f1", "matthews", "pearson", "spearman"]),
)
def test_identical_predictions_differ_by_exactly_nothing(labels, seed, runs, metric):
    drawn = np.random.default_rng(seed).integers(0, 3, (runs, len(labels)))
    assert difference_interval([metric], labels, drawn, drawn, resamples=50) == (0.0, 0.0, 0.0)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(outcomes=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_intervals_of_accuracy_cover_their_estimate(outcomes):
    labels, one, other = zip(*outcomes, strict=True)
    score = score_interval(["accuracy"], labels, [one, other])
    assert score.low - 1e-12 <= score.estimate <= score.high + 1e-12
    difference = difference_interval(["accuracy"], labels, [one], [other])
    assert difference.low - 1e-12 <= difference.estimate <= difference.high + 1e-12


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "matthews"])
def test_many_classes_take_no_more_memory(metric):
    """As many numbers as classes, not as pairs of them: 600 × 600 for each of 300 draws would be 860 MB."""
    labels, runs = examples((metric,), 600, classes=600)
    tracemalloc.start()
    low, high = score_interval([metric], labels, runs[:1], resamples=300)[1:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < high and peak < 100e6


def test_pairing_narrows_the_difference():
    labels, (run, _) = examples(["accuracy"], size=1000)
    near = run.copy()
    near[:10] = 1 - near[:10]  # two models that agree on all but ten sentences
    paired = difference_interval(["accuracy"], labels, [near], [run])
    alone = score_interval(["accuracy"], labels, [run])
    assert paired.high - paired.low < 0.4 * (alone.high - alone.low)


def test_interval_of_accuracy_is_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1000)
    interval = score_interval(["accuracy"], labels, [predict(labels, 0.8, rng)])
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert interval.low == pytest.approx(0.8 - half, abs=0.004)
    assert interval.high == pytest.approx(0.8 + half, abs=0.004)


def test_seeds_share_the_draws_of_examples():
    # Three seeds that answer alike say no more than one about other test sets; drawn apart they would seem to.
    labels, (run, _) = examples(["accuracy"])
    one, three = score_interval(["accuracy"], labels, [run]), score_interval(["accuracy"], labels, [run] * 3)
    assert three == pytest.approx(one)


def test_same_input_gives_the_same_interval():
    labels, runs = examples(["spearman"])
    assert score_interval(["spearman"], labels, runs) == score_interval(["spearman"], labels, runs)


@pytest.mark.parametrize(
    ("metrics", "labels", "predictions", "said"),
    [
        (["bleu"], [0, 1], [[0, 1]], "bleu"),
        ([], [0, 1], [[0, 1]], "metrics"),
        (["accuracy"], [0, 1], [[0]], "rows of"),
        (["accuracy"], [], [[]], "at least one"),
        (["accuracy"], [0], [], "at least one"),
    ],
)
def test_what_cannot_be_resampled_is_refused(metrics, labels, predictions, said):
    with pytest.raises(LTPError, match=said):
        score_interval(metrics, labels, predictions)


def test_difference_includes_the_seeds_where_there_are_several():
    """Three trainings that differ from dense by -4, 0 and +4 points: the examples alone would hide how far apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20_000)
    dense = [predict(labels, 0.8, np.random.default_rng(1))] * 3
    pruned = []
    for shift in (-0.04, 0.0, 0.04):
        row = dense[0].copy()
        wrong = row != labels
        among = np.flatnonzero(wrong if shift > 0 else ~wrong)[: round(abs(shift) * len(labels))]
        row[among] = 1 - row[among]
        pruned.append(row)
    several = difference_interval(["accuracy"], labels, pruned, dense)
    assert several.low < -0.02 and several.high > 0.02
    one = difference_interval(["accuracy"], labels, pruned[1:2], dense[:1])
    assert one.high - one.low < 0.01


def test_what_a_seed_does_to_both_cancels_in_their_difference():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    seeds = [predict(labels, score, rng) for score in (0.7, 0.8, 0.9)]
    assert difference_interval(["accuracy"], labels, seeds, seeds) == (0.0, 0.0, 0.0)
    score = score_interval(["accuracy"], labels, seeds)
    assert score.high - score.low > 0.1  # of which the examples alone are a third


def test_other_numbers_of_seeds_cannot_be_paired():
    with pytest.raises(LTPError, match="baseline: 1 seeds for 2"):
        difference_interval(["accuracy"], [0, 1], [[0, 1], [0, 1]], [[0, 1]])

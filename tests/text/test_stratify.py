"""Cutting examples into splits: disjoint, stratified, deterministic, whatever the labels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltp.text.stratify import cut, halve, shares, strata, take

groups_ = st.lists(st.integers(0, 3), min_size=1, max_size=80).map(np.array)


@st.composite
def groups_and_sizes(draw):
    groups = draw(groups_)
    sizes, left = [], len(groups)
    for _ in range(3):
        sizes.append(draw(st.integers(0, left)))
        left -= sizes[-1]
    return groups, sizes


@given(groups_and_sizes(), st.integers(0, 5))
def test_cuts_are_disjoint_of_the_sizes_asked_and_the_same_each_time(drawn, seed):
    groups, sizes = drawn
    parts = cut(groups, sizes, seed)
    assert [len(part) for part in parts] == sizes
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together) and set(together.tolist()) <= set(range(len(groups)))
    assert all(map(np.array_equal, parts, cut(groups, sizes, seed)))


@given(groups_and_sizes(), st.integers(0, 5))
def test_each_cut_holds_each_stratum_in_its_share_of_what_is_left(drawn, seed):
    groups, sizes = drawn
    left = np.arange(len(groups))
    for part in cut(groups, sizes, seed):
        for name in np.unique(groups[left]):
            quota = (groups[left] == name).sum() * len(part) / len(left)
            assert abs((groups[part] == name).sum() - quota) < 1
        left = np.setdiff1d(left, part)


@given(groups_, st.data())
def test_shares_add_up_and_never_exceed_what_is_there(groups, data):
    count = data.draw(st.integers(0, len(groups)))
    found = shares(groups, count)
    assert sum(found.values()) == count
    assert all(0 <= number <= (groups == name).sum() for name, number in found.items())


def test_a_longer_training_split_leaves_the_test_split_as_it_is():
    groups = np.arange(300) % 3
    test, validation, _ = cut(groups, [50, 40, 100], 7)
    test_again, validation_again, _ = cut(groups, [50, 40, 210], 7)
    assert np.array_equal(test, test_again) and np.array_equal(validation, validation_again)
    assert not np.array_equal(test, cut(groups, [50, 40, 100], 8)[0])


def test_a_cut_is_not_in_the_order_of_the_classes():
    labels = np.repeat([0, 1], 200)
    (part,) = cut(labels, [200], 0)
    halves = labels[part[:100]].mean(), labels[part[100:]].mean()
    assert labels[part].mean() == 0.5 and all(0.3 < share < 0.7 for share in halves)


@given(groups_, st.data(), st.integers(0, 5))
def test_halves_share_no_key_and_lose_no_example(groups, data, seed):
    keys = data.draw(st.lists(st.sampled_from("abcdefghij"), min_size=len(groups), max_size=len(groups)))
    first, second = halve(groups, keys, seed)
    assert sorted([*first, *second]) == list(range(len(groups)))
    assert not {keys[index] for index in first} & {keys[index] for index in second}
    assert 0 <= len({keys[index] for index in first}) - len({keys[index] for index in second}) <= 1


def test_halves_hold_each_class_in_its_share():
    labels = np.array([0] * 30 + [1] * 70)
    first, second = halve(labels, [str(index) for index in range(100)], 3)
    assert len(first) == len(second) == 50 and labels[first].sum() == labels[second].sum() == 35


def test_a_regression_is_stratified_by_tenths_of_its_scores():
    scores = np.random.default_rng(0).normal(size=1000)
    (part,) = cut(strata(scores, "regression"), [100], 0)
    tenths = np.searchsorted(np.sort(scores), scores[part]) // 100
    assert np.array_equal(np.bincount(tenths, minlength=10), [10] * 10)


def test_more_than_there_is_is_refused():
    with pytest.raises(ValueError, match="5 of 4"):
        take(np.zeros(4, int), np.arange(4), 5, np.random.default_rng(0))

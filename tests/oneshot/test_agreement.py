"""Agreement, changes and examples: by hand, and what must hold for any answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltp.oneshot import agreement

LABELS = ["a", "b", "c"]
ANSWERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def test_the_interval_of_a_share_is_wilsons():
    found = agreement.share(97, 100)
    assert found == pytest.approx((0.97, 0.9155, 0.9897), abs=1e-4)  # Wilson, 1927: (p + z²/2n ± …) / (1 + z²/n)
    assert agreement.share(100, 100).low < 0.97  # hundred of hundred do not prove that all agree


@given(ANSWERS)
def test_what_changed_and_what_did_not_are_all_texts(pairs):
    original, pruned = map(np.array, zip(*pairs, strict=True))
    found = agreement.agreement("classification", original, pruned)
    assert 0 <= found["low"] <= found["estimate"] <= found["high"] <= 1
    changes = agreement.changes(original, pruned, LABELS)
    assert sum(change["texts"] for change in changes) <= len(pairs) - found["equal"]
    assert all(change["texts"] <= change["of"] and change["original"] != change["pruned"] for change in changes)
    assert [change["texts"] for change in changes] == sorted((change["texts"] for change in changes), reverse=True)


@given(ANSWERS)
def test_examples_are_changed_texts_the_surest_first(pairs):
    original, pruned = map(np.array, zip(*pairs, strict=True))
    logits = np.random.default_rng(0).normal(size=(len(pairs), 3))
    logits[np.arange(len(pairs)), original] += 10  # the answers are the largest
    texts = [f"text {number}" for number in range(len(pairs))]
    found = agreement.examples(texts, original, pruned, logits, LABELS)
    assert len(found) == min(agreement.MOST_EXAMPLES, int((original != pruned).sum()))
    for example in found:
        row = texts.index(example["text"])
        assert (example["original"], example["pruned"]) == (LABELS[original[row]], LABELS[pruned[row]])
    sure = [example["probability"] for example in found]
    assert sure == sorted(sure, reverse=True)


def test_a_text_is_shown_in_one_line():
    assert agreement.head("a\nlong  text") == "a long text"
    assert len(agreement.head("word " * 100)) == agreement.SHOWN


def test_scores_against_labels_are_paired():
    labels = np.array([0, 1] * 50)
    found = agreement.scores("accuracy", labels, labels, labels)
    assert found["difference"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert found["original"]["estimate"] == 1.0

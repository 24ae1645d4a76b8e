"""Thresholds of 8-bit graphs: as many tokens are kept as without rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import tiny

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from ltp.export.int8_thresholds import build_int8, threshold_for
from ltp.export.session import run_session, session


@pytest.fixture
def batches():
    rows = [tiny.sentences(lengths, seed=seed) for seed, lengths in enumerate(([13, 4, 9, 2, 7], [30, 17, 22], [9]))]
    return [tiny.batch(sentences) for sentences in rows]


def kept(proto, batches):
    """(L,) tokens that each layer keeps."""
    runtime = session(proto.SerializeToString())
    return sum(run_session(runtime, batch, ["ffn_tokens"])[0].sum(0) for batch in batches)


def wanted(model, batches):
    with torch.inference_mode():
        return sum(model(**batch).ffn_tokens.numpy().sum(0) for batch in batches)


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("mode", ["absolute_threshold", "rising_threshold", "threshold"])
def test_each_layer_keeps_as_many_tokens_as_without_rounding(kind, mode, batches):
    moved = 0
    for seed in range(3):
        model = tiny.pruning_model(kind, mode, seed=seed).float()
        as_learned, expected = kept(build_int8(model, []), batches), wanted(model, batches)
        assert kept(build_int8(model, batches), batches).tolist() == expected.tolist()
        moved += np.abs(as_learned - expected).sum()
    assert moved > 0  # rounding did move tokens


def test_a_layer_that_drops_none_and_a_rule_without_thresholds_stay(batches):
    unscored = tiny.pruning_model("bert").float()
    with torch.no_grad():
        unscored.threshold_deltas[1] = -1.0
    assert kept(build_int8(unscored, batches), batches).tolist() == wanted(unscored, batches).tolist()
    topk = tiny.pruning_model("bert", "topk").float()
    assert build_int8(topk, batches) == build_int8(topk, [])


@pytest.mark.parametrize(
    ("count", "old", "expected"),
    [
        (2, 0.5, 0.5),  # keeps two of the scores already
        (2, 0.25, 0.5),
        (4, 0.35, 0.2),
        (5, 0.3, 0.1),  # the smallest score passes
        (0, 0.3, 1.2),  # above all
        (9, 0.05, 0.05),
    ],
)
def test_a_threshold_lies_between_the_scores_that_it_separates(count, old, expected):
    scores = np.array([0.4, 0.8, 0.1, 0.6, 0.3], np.float32)
    found = threshold_for(scores, count, np.float32(old))
    assert float(found) == pytest.approx(expected)
    assert (scores >= found).sum() == min(count, 5)


@pytest.mark.parametrize("scores", [[-0.7, -0.49], [-2.0, 0.0], [0.3, 1.5]])
def test_a_threshold_above_all_scores_is_above_logarithms_too(scores):
    found = threshold_for(np.array(scores, np.float32), 0, np.float32(-9.0))
    assert (np.array(scores, np.float32) < found).all()

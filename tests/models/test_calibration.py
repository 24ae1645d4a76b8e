"""Thresholds that cost a given share of the FLOPs on given text, whatever the score."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import tiny
from hypothesis import given
from hypothesis import strategies as st

from ltp.common.errors import LTPError
from ltp.models.calibration import calibrate, keep_shares, measure, shift_to_target
from ltp.models.flops import Sizes
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.schedule import cost, shares_for
from ltp.settings.pruning import KEEP_ALL, KEEP_FIRST, SCORING_MODES, PruningSettings

SIZES = Sizes(32, 64)


def model_of(scoring: str, layers: int = 4):
    base = tiny.base_model("bert", layers=layers)
    pruning = PruningSettings(scoring_mode=scoring, score_length=tiny.SCORE_LENGTH)
    model = LTPForSequenceClassification.from_base(base, pruning)
    if scoring == "saliency":
        model.saliency_probes.normal_(generator=torch.Generator().manual_seed(0))
    return model


def text(count: int = 60, seed: int = 0):
    lengths = [8 + (7 * number) % 25 for number in range(count)]
    rows = tiny.sentences(lengths, seed)
    return [tiny.batch(rows[start : start + 30]) for start in range(0, count, 30)]


@given(
    st.floats(0.05, 1.0), st.integers(1, 24), st.lists(st.integers(1, 256), min_size=1, max_size=9),
    st.sampled_from([SIZES, Sizes(384, 1536), Sizes(768, 3072)]),
)  # fmt: skip
def test_shares_fall_and_cost_the_target_or_the_least_is_said(target, layers, lengths, sizes):
    try:
        shares = shares_for(target, layers, np.array(lengths), sizes)
    except LTPError as error:
        least = cost([0.0] * layers, np.array(lengths), sizes)
        assert target < least and f"attention alone is {least:.3f}" in str(error) and "\n" not in str(error)
        return
    assert len(shares) == layers and all(0 <= later <= earlier <= 1 for earlier, later in pairwise([1.0, *shares]))
    assert cost(shares, np.array(lengths), sizes) == pytest.approx(target, abs=1e-6)


def test_the_last_layer_keeps_the_first_token_and_the_first_all_where_the_target_allows():
    lengths = np.full(10, 27)
    for target in (0.8, 0.6, 0.4):
        shares = shares_for(target, 6, lengths, Sizes(384, 1536))
        assert shares[0] == 1.0 and shares[-1] == 0.0 and 0.0 < shares[4] < shares[3] < 1.0
        assert shares[3] / shares[4] == pytest.approx((5 / 4) ** 1.25)
    assert shares_for(0.95, 6, lengths, Sizes(384, 1536))[:5] == [1.0] * 5
    long = shares_for(0.2, 6, np.full(10, 128), Sizes(384, 1536))  # were the first to keep all, nothing would be left
    assert 0.3 < long[0] < 0.7 and long[1] > 0.1


@pytest.mark.parametrize("scoring", SCORING_MODES)
def test_each_layer_keeps_its_share_of_the_text(scoring):
    model, (batch, _), shares = model_of(scoring), text(), [1.0, 0.6, 0.3, 0.0]
    keep_shares(model.train(), batch, shares)
    assert model.training and model.rule().mode == "absolute_threshold"
    with torch.no_grad():
        found = model.eval()(**batch)
    lengths = batch["attention_mask"].sum(1)
    np.testing.assert_allclose(found.ffn_tokens[:, :3].sum(0) / lengths.sum(), shares[:3], atol=0.002)
    assert found.ffn_tokens[:, 3].tolist() == [1] * 30
    if scoring != "mean":
        assert model.thresholds()[[0, 3]].tolist() == [KEEP_ALL, KEEP_FIRST]
        assert found.ffn_tokens[:, 1].float().div(lengths).std() > 0  # sentences keep different shares


@pytest.mark.parametrize("scoring", SCORING_MODES)
@pytest.mark.parametrize("target", [0.75, 0.5, 0.35])
def test_calibrated_thresholds_meet_the_target(scoring, target):
    model, batches = model_of(scoring), text(200)
    reached = calibrate(model, batches, target)
    # The median tokens of all sentences score 0 in every layer: a threshold can only keep or drop them together.
    assert reached == pytest.approx(measure(model, batches)) == pytest.approx(target, abs=0.02)
    # On other text of the kind too.
    assert measure(model, text(200, seed=1)) == pytest.approx(target, abs=0.04)


@pytest.mark.parametrize("target", [0.9, 0.6, 0.45])
def test_two_layers_meet_it_too(target):
    model, batches = model_of("contribution", layers=2), text(200)
    assert calibrate(model, batches, target) == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize("scoring", SCORING_MODES)
def test_one_constant_moves_what_depends_on_scores(scoring):
    model, batches = model_of(scoring), text(200)
    keep_shares(model, batches[0], [1.0, 0.6, 0.3, 0.0])
    before = model.thresholds().tolist()
    shift, reached = shift_to_target(model, batches, 0.5)
    moved = [after - start for start, after in zip(before, model.thresholds().tolist(), strict=True)]
    assert moved[1] == pytest.approx(shift, abs=1e-5) and moved[2] == pytest.approx(shift, abs=1e-5) and shift != 0
    assert reached == pytest.approx(0.5, abs=0.01)
    if scoring != "mean":
        assert moved[0] == moved[3] == 0.0


def test_what_cannot_be_reached_is_said_and_nothing_moved():
    model, batches = model_of("contribution"), text()
    keep_shares(model, batches[0], [1.0, 0.6, 0.3, 0.0])
    before = model.thresholds()
    for target, bound in ((0.2, "least"), (0.99, "most")):
        with pytest.raises(LTPError, match=f"flops: {target} cannot be reached by moving") as caught:
            shift_to_target(model, batches, target)
        assert f"the {bound} possible" in str(caught.value) and "\n" not in str(caught.value)
        assert torch.equal(model.thresholds(), before)
    with pytest.raises(LTPError, match=r"flops: 0\.05 cannot be reached: the first layer's attention alone"):
        calibrate(model, batches, 0.05)
    with pytest.raises(LTPError, match="prune_mode 'topk' has no thresholds"):
        shift_to_target(tiny.pruning_model("bert", "topk"), batches, 0.5)

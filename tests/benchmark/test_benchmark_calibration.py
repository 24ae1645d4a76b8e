"""The models that are timed without a run: full-size shapes, random weights, thresholds for a share of the FLOPs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import tiny
from transformers import RobertaConfig

from ltp.benchmark.calibration import SHAPES, calibrate, kept_after, random_model
from ltp.common.errors import LTPError
from ltp.models import flops
from ltp.models.flops import Sizes
from ltp.models.layouts.registry import LAYOUTS


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_thresholds_for_a_share_of_the_flops(kind):
    model = tiny.pruning_model(kind).float()
    batch = tiny.batch(tiny.sentences([13, 4, 9, 30, 17, 22, 26, 8]))
    share = calibrate(model, batch, 0.5)
    with torch.no_grad():
        found = model(**batch)
    lengths = batch["attention_mask"].sum(1)
    np.testing.assert_allclose(found.ffn_tokens.sum(0) / lengths.sum(), kept_after(4, share), atol=0.03)
    counts = (found.attention_tokens.numpy(), found.ffn_tokens.numpy(), lengths.numpy())
    assert flops.summarise(*counts, Sizes(32, 64))["relative"] == pytest.approx(0.5, abs=0.05)
    with pytest.raises(LTPError, match=r"flops: 0.05 cannot be reached: the first layer's attention alone is 0\.1"):
        calibrate(model, batch, 0.05)
    with pytest.raises(LTPError, match="prune_mode 'topk' has no thresholds"):
        calibrate(tiny.pruning_model(kind, "topk"), batch, 0.5)


def test_shapes_are_the_published_ones():
    weights = {}
    for name, config in SHAPES.items():
        with torch.device("meta"):
            weights[name] = sum(
                weight.numel() for weight in LAYOUTS[config.model_type].model_class(config).parameters()
            )
    assert weights == {"bert-base": 109_483_778, "roberta-base": 124_647_170}


def test_random_weights_are_the_same_again(monkeypatch):
    small = RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    monkeypatch.setitem(SHAPES, "roberta-base", small)
    first, second = (random_model("roberta-base").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)

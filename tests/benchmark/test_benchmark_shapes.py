"""The models that are timed without a run: full-size shapes with random weights."""

from __future__ import annotations

import torch
from helpers import tiny
from transformers import RobertaConfig

from ltp.benchmark.shapes import SHAPES, random_model
from ltp.models.calibration import calibrate
from ltp.models.layouts.registry import LAYOUTS


def test_shapes_are_the_published_ones():
    weights = {}
    for name, config in SHAPES.items():
        with torch.device("meta"):
            weights[name] = sum(
                weight.numel() for weight in LAYOUTS[config.model_type].model_class(config).parameters()
            )
    assert weights == {"bert-base": 109_483_778, "roberta-base": 124_647_170}


def test_random_weights_are_the_same_again_and_take_thresholds(monkeypatch):
    small = RobertaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    monkeypatch.setitem(SHAPES, "roberta-base", small)
    first, second = (random_model("roberta-base") for _ in range(2))
    weights, others = first.state_dict(), second.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert abs(calibrate(first, [tiny.batch(tiny.sentences([13, 4, 9, 30, 17, 22, 26, 8]))], 0.5) - 0.5) < 0.03

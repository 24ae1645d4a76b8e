"""Models for timing without a run: full-size shapes with random weights."""

from __future__ import annotations

import torch
from transformers import BertConfig, RobertaConfig

from ltp.models.layouts.registry import LAYOUTS
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings

# The published encoders' sizes, with random weights: the time does not depend on their values.
SHAPES = {
    "bert-base": BertConfig(),
    "roberta-base": RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1
    ),
}


def random_model(shape: str, seed: int = 0) -> LTPForSequenceClassification:
    """A model of a published shape with random weights and probes, its attention uneven enough for scores to differ.

    Its score is the budget's; its thresholds are still to be set (ltp.models.calibration).
    """
    config = SHAPES[shape]
    torch.manual_seed(seed)
    base = LAYOUTS[config.model_type].model_class(config).eval()
    with torch.no_grad():
        for layer in base.base_model.encoder.layer:
            for module in (layer.attention.self.query, layer.attention.self.key):
                module.weight.mul_(3.0)
    model = LTPForSequenceClassification.from_base(base, PruningSettings(scoring_mode="saliency"))
    model.saliency_probes.normal_()
    return model

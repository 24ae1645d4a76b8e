"""Models for timing: full-size shapes with random weights, and thresholds that cost a given share of the FLOPs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import BertConfig, RobertaConfig

from ltp.models.calibration import keep_shares
from ltp.models.layouts.registry import LAYOUTS
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.schedule import solve
from ltp.settings.pruning import PruningSettings

# The published encoders' sizes, with random weights: the time does not depend on their values.
SHAPES = {
    "bert-base": BertConfig(),
    "roberta-base": RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1
    ),
}
THRESHOLDS = PruningSettings(final_token_threshold=1.0)  # until `calibrate` sets them


def random_model(shape: str, seed: int = 0) -> LTPForSequenceClassification:
    """A model of a published shape with random weights, its attention uneven enough for scores to differ."""
    config = SHAPES[shape]
    torch.manual_seed(seed)
    base = LAYOUTS[config.model_type].model_class(config).eval()
    with torch.no_grad():
        for layer in base.base_model.encoder.layer:
            for module in (layer.attention.self.query, layer.attention.self.key):
                module.weight.mul_(3.0)
    return LTPForSequenceClassification.from_base(base, THRESHOLDS)


def kept_after(layers: int, share: float) -> list[float]:
    """Share of a sentence's tokens left after each layer, where each keeps ``share`` of what it gets."""
    return [share**layer for layer in range(1, layers + 1)]


def calibrate(model: LTPForSequenceClassification, batch: Mapping[str, Tensor], relative: float) -> float:
    """Set the thresholds so that the batch's sentences cost ``relative`` of their FLOPs.

    Every layer keeps the same share of the tokens that it gets, first tokens among them. Returns that share. Raises
    LTPError where no share costs so little, and for a model without thresholds to set.
    """
    lengths = batch["attention_mask"].sum(1).cpu().numpy()
    share = 1.0 - solve(lambda gone: kept_after(model.layers, 1.0 - gone), 1.0, relative, lengths, model.sizes)
    keep_shares(model, batch, kept_after(model.layers, share))
    return share

"""RoBERTa, and the two that took over its layers."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import (
    CamembertConfig,
    CamembertForSequenceClassification,
    PreTrainedConfig,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from ltp.models.layouts.layout import HeadModules, Layout


class _PaddedPositions(Layout):
    """Positions start after the padding index; the head has a pooler of its own."""

    encoder_name = "roberta"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.first_position = config.pad_token_id + 1

    def head_modules(self, model: nn.Module) -> HeadModules:
        return HeadModules(model.classifier.dense, "tanh", model.classifier.out_proj)

    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        return model.classifier(pooled[:, None])


class RobertaLayout(_PaddedPositions):
    """RoBERTa itself."""

    config_class = RobertaConfig
    model_class = RobertaForSequenceClassification


class XLMRobertaLayout(_PaddedPositions):
    """RoBERTa's layers for a hundred languages."""

    config_class = XLMRobertaConfig
    model_class = XLMRobertaForSequenceClassification


class CamembertLayout(_PaddedPositions):
    """RoBERTa's layers for French."""

    config_class = CamembertConfig
    model_class = CamembertForSequenceClassification

"""BERT."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from ltp.models.layouts.layout import HeadModules, Layout


class BertLayout(Layout):
    """The first token goes through the pooler."""

    config_class = BertConfig
    model_class = BertForSequenceClassification
    encoder_name = "bert"

    def head_modules(self, model: nn.Module) -> HeadModules:
        return HeadModules(model.bert.pooler.dense, "tanh", model.classifier)

    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        return model.classifier(model.dropout(model.bert.pooler(pooled[:, None])))

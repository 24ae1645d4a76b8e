"""ELECTRA: BERT's layers after embeddings that may be narrower, and a head with GELU."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import ElectraConfig, ElectraForSequenceClassification

from ltp.models.layouts.layout import EmbeddingModules, HeadModules, Layout


class ElectraLayout(Layout):
    """The small sizes have embeddings of 128, projected to the layers' width."""

    config_class = ElectraConfig
    model_class = ElectraForSequenceClassification
    encoder_name = "electra"
    has_bert_blocks = False

    def embed(self, encoder: nn.Module, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        embedded = super().embed(encoder, ids, types, positions)
        return encoder.embeddings_project(embedded) if hasattr(encoder, "embeddings_project") else embedded

    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        return model.classifier(pooled[:, None])

    def embedding_modules(self, encoder: nn.Module) -> EmbeddingModules:
        modules = super().embedding_modules(encoder)
        return modules._replace(projection=getattr(encoder, "embeddings_project", None))

    def head_modules(self, model: nn.Module) -> HeadModules:
        return HeadModules(model.classifier.dense, "gelu", model.classifier.out_proj)

"""DistilBERT: BERT's layers under other names, without segments and pooler."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from ltp.models.blocks import dropped, widen
from ltp.models.layouts.layout import HeadModules, LayerModules, Layout
from ltp.models.prepacked_linear import LinearFunction, apply_linear, is_wrapped


class DistilBertLayout(Layout):
    """The head is a linear layer, ReLU and the classifier."""

    config_class = DistilBertConfig
    model_class = DistilBertForSequenceClassification
    encoder_name = "distilbert"
    has_bert_blocks = False

    def layers(self, encoder: nn.Module) -> Sequence[nn.Module]:
        return encoder.transformer.layer

    def embed(self, encoder: nn.Module, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        return encoder.embeddings(input_ids=ids[None], position_ids=positions[None])[0]

    def output_projection(self, layer: nn.Module) -> nn.Module:
        return layer.attention.out_lin

    def attention_block(self, layer: nn.Module) -> nn.Module:
        return layer.attention

    def projections(self, layer: nn.Module) -> tuple[nn.Module, ...]:
        return layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin

    def finish(self, linear: LinearFunction, layer: nn.Module, context: Tensor, residual: Tensor) -> Tensor:
        attended = layer.sa_layer_norm(linear(context, layer.attention.out_lin)[0] + residual)
        return layer.output_layer_norm(self._feed_forward(linear, layer.ffn, attended) + attended)

    def _feed_forward(self, linear: LinearFunction, block: nn.Module, attended: Tensor) -> Tensor:
        if linear is apply_linear or is_wrapped(block):
            return block(attended[None])[0]
        (narrow,) = linear(widen(linear, block.lin1, block.activation, attended), block.lin2)
        return dropped(block.dropout, narrow)

    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        return model.classifier(model.dropout(functional.relu(model.pre_classifier(pooled))))

    def modules(self, layer: nn.Module) -> LayerModules:
        return LayerModules(
            self.projections(layer), layer.attention.out_lin, layer.sa_layer_norm,
            layer.ffn.lin1, layer.ffn.lin2, layer.output_layer_norm,
        )  # fmt: skip

    def head_modules(self, model: nn.Module) -> HeadModules:
        return HeadModules(model.pre_classifier, "relu", model.classifier)

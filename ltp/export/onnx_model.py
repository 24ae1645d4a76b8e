"""The pruning encoder as an ONNX graph: tokens are removed, batch and length are free.

Linear layers see packed rows; only attention pads. The graph has no branches and no loops: ONNX Runtime prepacks
weights when it loads a model, but not those inside of a branch or loop, which makes batches of one a third slower.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, L layers, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, helper
from torch import Tensor, nn

from ltp.common.errors import LTPError
from ltp.export.onnx_attention import FLAT, PROTECTED, PruningAttention
from ltp.export.onnx_graph import BOOL, FLOAT, INT64, Constants, Graph, int64_array, layer_norm, linear, make_model
from ltp.models.modeling import LTPForSequenceClassification

ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "gelu": lambda graph, values: graph("Gelu", values),
    "gelu_new": lambda graph, values: graph("Gelu", values, approximate="tanh"),
    "gelu_pytorch_tanh": lambda graph, values: graph("Gelu", values, approximate="tanh"),
    "relu": lambda graph, values: graph("Relu", values),
}


def build(model: LTPForSequenceClassification, int8: bool = False) -> ModelProto:
    """The ONNX model of a trained classifier, with linear layers in 8 bits on request.

    Inputs: ``input_ids`` and ``attention_mask`` (batch, length), int64, and ``token_type_ids`` where the encoder
    has segments. Outputs: ``logits`` (batch, C), and ``attention_tokens`` and ``ffn_tokens`` (batch, L), the
    tokens that entered each layer's attention and feed-forward. Raises LTPError for what the graph cannot express.
    """
    config = model.config
    if config.hidden_act not in ACTIVATIONS:
        raise LTPError(
            f"hidden_act: {config.hidden_act!r} cannot be exported to ONNX; expected one of {', '.join(ACTIVATIONS)}"
        )
    graph = Graph("ltp", Constants())
    weights = _Weights(model, int8)
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if config.type_vocab_size > 1 else [])
    hidden, lengths = weights.embed(graph, *names)
    protected = None if config.protected_until is None else _protected(graph, *names[:2], config.protected_until)
    results = weights.encode(graph, hidden, PruningAttention(graph, model, lengths, protected))
    outputs = {"logits": weights.classify(graph, results[0]), "attention_tokens": results[1], "ffn_tokens": results[2]}
    for name, value in outputs.items():
        graph("Identity", value, output_name=name)
    return make_model(
        graph,
        [helper.make_tensor_value_info(name, INT64, ["batch", "length"]) for name in names],
        [
            helper.make_tensor_value_info("logits", FLOAT, ["batch", config.num_labels]),
            helper.make_tensor_value_info("attention_tokens", INT64, ["batch", model.layers]),
            helper.make_tensor_value_info("ffn_tokens", INT64, ["batch", model.layers]),
        ],
        {"prune_mode": config.prune_mode, "linear_layers": "int8" if int8 else "float32"},
    )


class _Weights:
    """Writes the parts of the graph that have weights: embeddings, linear layers, LayerNorms, classifier."""

    def __init__(self, model: LTPForSequenceClassification, int8: bool) -> None:
        self.model, self.config, self.int8 = model, model.config, int8

    def linear(self, graph: Graph, values: str, name: str, *modules: nn.Linear) -> str:
        """One product for a linear layer, or for several that read the same values."""
        weight = np.concatenate([_array(module.weight) for module in modules])
        bias = np.concatenate([_array(module.bias) for module in modules])
        return linear(graph, values, name, weight, bias, self.int8)

    def norm(self, graph: Graph, terms: list[str], name: str, module: nn.LayerNorm) -> str:
        """LayerNorm of a sum."""
        return layer_norm(graph, terms, name, _array(module.weight), _array(module.bias), module.eps)

    def embed(self, graph: Graph, ids: str, mask: str, types: str | None = None) -> tuple[str, str]:
        """Drop the padding; returns the embedded tokens (T, H) and the sentences' lengths (B,)."""
        module, config, store = self.model.encoder.embeddings, self.config, graph.constants.add
        valid = graph("Cast", graph("Cast", mask, to=BOOL), to=INT64)  # (B, N) of 0 and 1
        lengths = graph("ReduceSum", valid, int64_array(1), keepdims=0)
        indices = graph("Squeeze", graph("NonZero", graph("Reshape", valid, FLAT)), int64_array(0))  # (T,)
        # A token's position is the number of tokens up to it, less one; RoBERTa's start after the padding index.
        shift = config.pad_token_id if config.base_model_type == "roberta" else -1
        positions = graph("Add", graph("CumSum", valid, np.int64(1)), np.int64(shift))
        segments = store(_array(module.token_type_embeddings.weight), "token_type_embeddings")
        terms = []
        for name, embedding, values in (
            ("word_embeddings", module.word_embeddings, ids),
            ("position_embeddings", module.position_embeddings, positions),
        ):
            packed = graph("Gather", graph("Reshape", values, FLAT), indices)
            terms.append(graph("Gather", store(_array(embedding.weight), name), packed))
        if types is None:
            terms.append(graph("Gather", segments, np.int64(0)))
        else:
            terms.append(graph("Gather", segments, graph("Gather", graph("Reshape", types, FLAT), indices)))
        return self.norm(graph, terms, "embeddings", module.LayerNorm), lengths

    def encode(self, graph: Graph, hidden: str, attention: PruningAttention) -> tuple[str, str, str]:
        """All layers; returns the first tokens (B, H), ``attention_tokens`` and ``ffn_tokens`` (B, L).

        The classifier reads the first tokens only, so the last layer computes no others beyond its attention.
        """
        attention_tokens, ffn_tokens = [], []
        for index, layer in enumerate(self.model.encoder.encoder.layer):
            output, name = layer.attention.output, f"layer{index}"
            attention_tokens.append(attention.lengths)
            if index < self.model.layers - 1:
                projected = self._project(graph, hidden, layer, name)
                context, hidden = attention.attend(projected, hidden, index)
            else:
                context, hidden = self._last_attention(graph, hidden, attention, layer, name)
            ffn_tokens.append(attention.lengths)
            attended = self.linear(graph, context, f"{name}.attention", output.dense)
            attended = self.norm(graph, [attended, hidden], f"{name}.attention_norm", output.LayerNorm)
            wide = self.linear(graph, attended, f"{name}.intermediate", layer.intermediate.dense)
            wide = ACTIVATIONS[self.config.hidden_act](graph, wide)
            narrow = self.linear(graph, wide, f"{name}.output", layer.output.dense)
            hidden = self.norm(graph, [narrow, attended], f"{name}.output_norm", layer.output.LayerNorm)
        return hidden, _stack(graph, attention_tokens), _stack(graph, ffn_tokens)

    def _project(self, graph: Graph, hidden: str, layer: nn.Module, name: str) -> str:
        """(T, H) -> queries, keys and values (T, 3H)."""
        own = layer.attention.self
        return self.linear(graph, hidden, f"{name}.qkv", own.query, own.key, own.value)

    def _last_attention(
        self, graph: Graph, hidden: str, attention: PruningAttention, layer: nn.Module, name: str
    ) -> tuple[str, str]:
        """(T, H) -> context and hidden (B, H) of the first tokens; only scores need the queries of the others."""
        own, last = layer.attention.self, self.model.layers - 1
        first = graph("Gather", hidden, attention.sequence_starts)
        if attention.rule.is_active(last):
            return attention.attend_last(self._project(graph, hidden, layer, name), last), first
        query = self.linear(graph, first, f"{name}.query", own.query)
        return attention.attend_first(query, self.linear(graph, hidden, f"{name}.kv", own.key, own.value)), first

    def classify(self, graph: Graph, first: str) -> str:
        """(B, H) first tokens -> (B, C) logits, by the base model's own head."""
        model = self.model
        if self.config.base_model_type == "bert":
            dense, last = model.bert.pooler.dense, model.classifier
        else:
            dense, last = model.classifier.dense, model.classifier.out_proj
        return self.linear(graph, graph("Tanh", self.linear(graph, first, "pooler", dense)), "classifier", last)


def _protected(graph: Graph, ids: str, mask: str, end: int) -> str:
    """(B,) ltp.models.embedding.protected_lengths of ids and mask (B, N)."""
    valid = graph("Cast", mask, to=BOOL)
    ends = graph("Cast", graph("And", graph("Equal", ids, np.int64(end)), valid), to=INT64)
    before = graph("Equal", graph("CumSum", ends, np.int64(1), exclusive=1), np.int64(0))
    counted = graph("Cast", graph("And", before, valid), to=INT64)
    return graph("ReduceSum", counted, int64_array(1), keepdims=0, output_name=PROTECTED)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _stack(graph: Graph, counts: list[str]) -> str:
    """(B,) for each layer -> (B, L)."""
    axis = int64_array(1)
    return graph("Concat", *(graph("Unsqueeze", count, axis) for count in counts), axis=1)

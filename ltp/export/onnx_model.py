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
from ltp.export.onnx_places import places_of
from ltp.models.layouts.layout import LayerModules
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.encoders import ENCODERS

ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "gelu": lambda graph, values: graph("Gelu", values),
    "gelu_new": lambda graph, values: graph("Gelu", values, approximate="tanh"),
    "gelu_pytorch_tanh": lambda graph, values: graph("Gelu", values, approximate="tanh"),
    "relu": lambda graph, values: graph("Relu", values),
    "tanh": lambda graph, values: graph("Tanh", values),
}


def build(model: LTPForSequenceClassification, int8: bool = False) -> ModelProto:
    """The ONNX model of a trained classifier, with linear layers in 8 bits on request.

    Inputs: ``input_ids`` and ``attention_mask`` (batch, length), int64, and ``token_type_ids`` where the encoder
    has segments. Outputs: ``logits`` (batch, C), and ``attention_tokens`` and ``ffn_tokens`` (batch, L), the
    tokens that entered each layer's attention and feed-forward. Raises LTPError for what the graph cannot express.
    """
    config = model.config
    head = model.layout.head_modules(model).activation
    for key, activation in (("hidden_act", config.hidden_act), ("the head's activation", head)):
        if activation not in ACTIVATIONS:
            raise LTPError(
                f"{key}: {activation!r} cannot be exported to ONNX; expected one of {', '.join(ACTIVATIONS)}"
            )
    graph = Graph("ltp", Constants())
    weights = _Weights(model, int8)
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if getattr(config, "type_vocab_size", 1) > 1 else [])
    hidden, lengths, positions = weights.embed(graph, *names)
    protected = None
    if config.protected_until is not None:
        protected = _protected(graph, names[0], names[1], config.protected_until)
    attention = PruningAttention(graph, model, lengths, places_of(graph, model, positions), protected)
    results = weights.encode(graph, hidden, attention)
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
        self.layout = model.layout
        self.gated = ENCODERS[model.config.base_model_type].gated

    def linear(self, graph: Graph, values: str, name: str, *modules: nn.Linear, rows: slice = slice(None)) -> str:
        """One product for a linear layer, or for several that read the same values; ``rows`` of its outputs only."""
        weight = np.concatenate([_array(module.weight) for module in modules])[rows]
        biases = [_array(module.bias) for module in modules if module.bias is not None]
        return linear(graph, values, name, weight, np.concatenate(biases)[rows] if biases else None, self.int8)

    def norm(self, graph: Graph, terms: list[str], name: str, module: nn.LayerNorm) -> str:
        """LayerNorm of a sum."""
        weight = _array(module.weight)
        bias = np.zeros_like(weight) if module.bias is None else _array(module.bias)
        return layer_norm(graph, terms, name, weight, bias, module.eps)

    def embed(self, graph: Graph, ids: str, mask: str, types: str | None = None) -> tuple[str, str, str]:
        """Drop the padding; returns the embedded tokens (T, H), the sentences' lengths (B,) and the places (T,)."""
        modules, store = self.layout.embedding_modules(self.model.encoder), graph.constants.add
        valid = graph("Cast", graph("Cast", mask, to=BOOL), to=INT64)  # (B, N) of 0 and 1
        lengths = graph("ReduceSum", valid, int64_array(1), keepdims=0)
        indices = graph("Squeeze", graph("NonZero", graph("Reshape", valid, FLAT)), int64_array(0))  # (T,)
        # A token's position is the number of tokens up to it, less one, from the layout's first.
        shift = self.layout.first_position - 1
        positions = graph("Add", graph("CumSum", valid, np.int64(1)), np.int64(shift))
        terms = []
        for name, embedding, values in (
            ("word_embeddings", modules.words, ids),
            ("position_embeddings", modules.positions, positions),
            ("token_type_embeddings", modules.segments, types),
        ):
            if embedding is None:
                continue
            table = store(_array(embedding.weight), name)
            packed = np.int64(0) if values is None else graph("Gather", graph("Reshape", values, FLAT), indices)
            terms.append(graph("Gather", table, packed))
        hidden = self.norm(graph, terms, "embeddings", modules.norm)
        if modules.projection is not None:
            hidden = self.linear(graph, hidden, "embeddings_project", modules.projection)
        return hidden, lengths, graph("Gather", graph("Reshape", positions, FLAT), indices)

    def encode(self, graph: Graph, hidden: str, attention: PruningAttention) -> tuple[str, str, str]:
        """All layers; returns the first tokens (B, H), ``attention_tokens`` and ``ffn_tokens`` (B, L).

        Where the classifier reads the first tokens only, the last layer computes no others beyond its attention; else
        the means of all are returned in their place.
        """
        attention_tokens, ffn_tokens = [], []
        for index, layer in enumerate(self.layout.layers(self.model.encoder)):
            modules, name = self.layout.modules(layer), f"layer{index}"
            attention_tokens.append(attention.lengths)
            entering = self._entering(graph, hidden, modules, name)
            if index == self.model.layers - 1 and not self.layout.reads_all:
                context, hidden = self._last_attention(graph, hidden, entering, attention, modules, name)
            elif attention.decides_by_attention[index] or not attention.rule.is_active(index):
                context, hidden = attention.attend(self._project(graph, entering, modules, name), hidden, index)
            else:  # only what will be kept is asked for its queries
                kept = attention.decide(hidden, index)
                projected = self._project_few(graph, entering, kept.rows, modules, name)
                context, hidden = attention.attend_kept(*projected, kept, index), graph("Gather", hidden, kept.rows)
            ffn_tokens.append(attention.lengths)
            attended = self.linear(graph, context, f"{name}.attention", modules.output)
            if self.layout.norms_first:
                hidden = graph("Add", attended, hidden)
                normed = self.norm(graph, [hidden], f"{name}.output_norm", modules.output_norm)
                hidden = graph("Add", self._feed_forward(graph, normed, modules, name), hidden)
            else:
                attended = self.norm(graph, [attended, hidden], f"{name}.attention_norm", modules.attention_norm)
                narrow = self._feed_forward(graph, attended, modules, name)
                hidden = self.norm(graph, [narrow, attended], f"{name}.output_norm", modules.output_norm)
        if self.layout.norms_first:
            hidden = self.norm(graph, [hidden], "final_norm", self.model.encoder.final_norm)
        hidden = attention.mean(hidden) if self.layout.reads_all else hidden
        return hidden, _stack(graph, attention_tokens), _stack(graph, ffn_tokens)

    def _entering(self, graph: Graph, hidden: str, modules: LayerModules, name: str) -> str:
        """(T, H) what a layer's attention reads."""
        if not self.layout.norms_first or isinstance(modules.attention_norm, nn.Identity):
            return hidden
        return self.norm(graph, [hidden], f"{name}.attention_norm", modules.attention_norm)

    def _feed_forward(self, graph: Graph, values: str, modules: LayerModules, name: str) -> str:
        """(K, H) -> (K, H), without sum and norm."""
        wide, gate = self.linear(graph, values, f"{name}.intermediate", modules.widen), None
        if self.gated:
            wide, gate = graph("Split", wide, axis=-1, num_outputs=2, outputs=2)
        wide = ACTIVATIONS[self.config.hidden_act](graph, wide)
        wide = wide if gate is None else graph("Mul", wide, gate)
        return self.linear(graph, wide, f"{name}.output", modules.narrow)

    def _project(self, graph: Graph, hidden: str, modules: LayerModules, name: str) -> str:
        """(T, H) -> queries, keys and values (T, 3H)."""
        return self.linear(graph, hidden, f"{name}.qkv", *modules.qkv)

    def _project_few(self, graph: Graph, entering: str, rows: str, modules: LayerModules, name: str) -> tuple[str, str]:
        """(T, H) -> queries (K, H) of the tokens ``rows`` (K,), keys and values (T, 2H) of all."""
        width, asking = self.config.hidden_size, graph("Gather", entering, rows)
        query = self.linear(graph, asking, f"{name}.query", *modules.qkv, rows=slice(width))
        return query, self.linear(graph, entering, f"{name}.kv", *modules.qkv, rows=slice(width, None))

    def _last_attention(
        self, graph: Graph, hidden: str, entering: str, attention: PruningAttention, modules: LayerModules, name: str
    ) -> tuple[str, str]:
        """(T, H) twice -> context and hidden (B, H) of the first tokens; only scores need the queries of the others."""
        last, first_rows = self.model.layers - 1, attention.sequence_starts
        first = graph("Gather", hidden, first_rows)
        if attention.decides_by_attention[last]:
            return attention.attend_last(self._project(graph, entering, modules, name), hidden, last), first
        query, keys_and_values = self._project_few(graph, entering, first_rows, modules, name)
        return attention.attend_first(query, keys_and_values, hidden, last), first

    def classify(self, graph: Graph, first: str) -> str:
        """(B, H) first tokens -> (B, C) logits, by the base model's own head."""
        head = self.layout.head_modules(self.model)
        pooled = ACTIVATIONS[head.activation](graph, self.linear(graph, first, "pooler", head.dense))
        pooled = pooled if head.norm is None else self.norm(graph, [pooled], "head_norm", head.norm)
        return self.linear(graph, pooled, "classifier", head.last)


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

"""Thresholds of an 8-bit graph, set so that it keeps as many tokens as the model that it was made from.

8 bits move every score a little, and a threshold that was learned for exact scores then keeps more tokens or fewer,
from layer to layer.

Shapes: B sentences, N longest sentence, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from ltp.export.onnx_attention import MIN_SCORE, PROTECTED, SCORES
from ltp.export.onnx_graph import FLOAT, INT64
from ltp.export.onnx_model import build
from ltp.export.session import run_session, session
from ltp.models.modeling import LTPForSequenceClassification


def build_int8(model: LTPForSequenceClassification, batches: Sequence[Mapping[str, Tensor]]) -> ModelProto:
    """A trained classifier as a graph in 8 bits, its thresholds set on padded batches of text; none: as learned."""
    proto = build(model, int8=True)
    if not batches or not _thresholds(proto):
        return proto
    with torch.inference_mode():
        return match_kept_tokens(proto, batches, [model(**batch).ffn_tokens.numpy() for batch in batches])


def match_kept_tokens(
    model: ModelProto, batches: Sequence[Mapping[str, Tensor]], ffn_tokens: Sequence[np.ndarray]
) -> ModelProto:
    """The graph with each active layer's threshold set to keep as many tokens of the batches as wanted.

    ``ffn_tokens`` (B, L), for each batch, are the tokens that the original keeps. The layers are set one after another,
    since what one keeps changes the scores of the next. A threshold that keeps the right number stays as it is; another
    one comes to lie halfway between two scores. Tokens that are never dropped count on both sides. A graph without
    thresholds comes back unchanged.
    """
    model = _copy(model)
    wanted = sum(counts.sum(0) for counts in ffn_tokens)  # (L,)
    for layer, threshold in _thresholds(model).items():
        scores, apart = _scores(model, batches, layer)
        count = int(wanted[layer]) - apart
        new = threshold_for(scores, count, numpy_helper.to_array(threshold))
        threshold.CopyFrom(numpy_helper.from_array(new, threshold.name))
    return model


def threshold_for(scores: np.ndarray, count: int, old: np.ndarray) -> np.ndarray:
    """() the threshold that ``count`` of the ``scores`` (n,) reach: ``old`` if that does it."""
    ranked = np.concatenate([[np.inf], np.sort(scores)[::-1], [-np.inf]])
    count = min(max(count, 0), len(scores))
    least, below = ranked[count], ranked[count + 1]  # the last that is kept, the first that is not
    if below < old <= least:
        return old
    if np.isinf(least):
        least = below + max(abs(below), 1e-3)  # to lie above all
    return np.asarray((least + below) / 2 if np.isfinite(below) else least, np.float32)


def _thresholds(model: ModelProto) -> dict[int, TensorProto]:
    """The thresholds of the layers that have one."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = range(len(tensors))  # more than there are layers
    return {layer: tensors[name] for layer in layers if (name := MIN_SCORE.format(layer)) in tensors}


def _scores(model: ModelProto, batches: Sequence[Mapping[str, Tensor]], layer: int) -> tuple[np.ndarray, int]:
    """(n,) the layer's scores of all tokens that reach it but those that are never dropped, and the number of those."""
    probe = _copy(model)
    scores = SCORES.format(layer)
    probe.graph.output.append(helper.make_tensor_value_info(scores, FLOAT, ["batch", f"length_{layer}"]))
    protected = [PROTECTED] if any(PROTECTED in node.output for node in probe.graph.node) else []
    probe.graph.output.extend(helper.make_tensor_value_info(name, INT64, ["batch"]) for name in protected)
    runtime = session(probe.SerializeToString())
    found, apart = [], 0
    for batch in batches:
        received, counts, *more = run_session(
            runtime, batch, [scores, "attention_tokens", *protected]
        )  # (B, N), (B, L)
        columns, stay = np.arange(received.shape[1]), more[0] if more else np.ones(len(received), np.int64)
        found.append(received[(columns >= stay[:, None]) & (columns < counts[:, layer, None])])
        apart += int(stay.sum())
    return np.concatenate(found), apart


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied

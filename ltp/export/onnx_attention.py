"""Attention and token removal as ONNX operators.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, D = H/A per head, K tokens kept.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ltp.export.onnx_graph import FLOAT, INT64, Graph, whole_numbers
from ltp.models.modeling import LTPForSequenceClassification

INFINITY = np.float32(np.inf)
MASKED = np.float32(np.finfo(np.float32).min)  # added to the scores of padding; infinity would give 0 · ∞
FLAT = whole_numbers(-1)


class Sentences:
    """The sentences of a batch: packed rows (T,) outside of attention, a padded table (B, N) inside."""

    def __init__(self, graph: Graph, model: LTPForSequenceClassification, lengths: str) -> None:
        self.graph, self.rule, self.original_lengths = graph, model.rule(), lengths
        self.heads, self.hidden = model.heads, model.config.hidden_size
        self.table = Table(graph, lengths)

    @property
    def lengths(self) -> str:
        """(B,) tokens of each sentence now."""
        return self.table.lengths

    def attend(self, projected: str, hidden: str, layer: int) -> tuple[str, str]:
        """Queries, keys and values (T, 3H) and ``hidden`` (T, H) -> context and hidden (K, H) of what stays."""
        graph, rule, table = self.graph, self.rule, self.table
        padded = graph("Gather", projected, table.rows)  # (B, N, 3H)
        heads = graph("Reshape", padded, whole_numbers(0, 0, 3 * self.heads, self.hidden // self.heads))
        heads = graph("Transpose", heads, perm=[0, 2, 1, 3])  # (B, 3A, N, D)
        query, key, value = graph("Split", heads, axis=1, num_outputs=3, outputs=3)  # each (B, A, N, D)
        scores = graph("MatMul", query, graph("Transpose", key, perm=[0, 1, 3, 2]))
        scores = graph("Add", graph("Mul", scores, np.float32((self.hidden // self.heads) ** -0.5)), table.mask)
        probabilities = graph("Softmax", scores, axis=-1)  # (B, A, N, N)
        context = graph("Transpose", graph("MatMul", probabilities, value), perm=[0, 2, 1, 3])
        context = graph("Reshape", context, whole_numbers(-1, self.hidden))  # (B·N, H)
        stays = table.places
        if rule.is_active(layer):
            received = graph("MatMul", table.query_mask, probabilities)  # (B, A, 1, N)
            received = graph("ReduceSum", received, whole_numbers(1, 2), keepdims=0)  # (B, N)
            stay = graph("And", self._choose(received, layer), table.valid)
            stays = graph("Squeeze", graph("NonZero", graph("Reshape", stay, FLAT)), whole_numbers(0))  # (K,) of B·N
            hidden = graph("Gather", hidden, graph("Gather", graph("Reshape", table.rows, FLAT), stays))
            left = graph("ReduceSum", graph("Cast", stay, to=INT64), whole_numbers(1), keepdims=0)
            self.table = Table(graph, left)
        return graph("Gather", context, stays), hidden

    def _choose(self, received: str, layer: int) -> str:
        """(B, N) -> (B, N) bool: what stays, by the rules of ltp.pruners; padding may be among it."""
        graph, rule, table = self.graph, self.rule, self.table
        if rule.mode not in ("absolute_threshold", "topk"):
            received = graph("Div", received, graph("ReduceMax", received, whole_numbers(1)))
        first = graph("Equal", table.columns, np.int64(0))  # (N,)
        if rule.mode != "topk":
            return graph("Or", graph("GreaterOrEqual", received, np.float32(rule.min_scores[layer])), first)
        scores = graph("Where", first, INFINITY, received)
        order = graph("TopK", scores, graph("Reshape", table.longest, FLAT), outputs=2)[1]  # (B, N)
        columns = graph("Expand", table.columns, graph("Shape", order))
        rank = graph("ScatterElements", order, order, columns, axis=1)
        count = wanted(graph, self.original_lengths, rule.keep_rates[layer])
        return graph("Less", rank, graph("Unsqueeze", count, whole_numbers(1)))

    def sequence_starts(self) -> str:
        """(B,) the row of each sentence's first token."""
        return self.table.first


class Table:
    """Where packed rows stand when sentences are padded side by side; each part is written when first asked for."""

    def __init__(self, graph: Graph, lengths: str) -> None:
        self.graph, self.lengths = graph, lengths

    @cached_property
    def first(self) -> str:
        """(B,) the row of each sentence's first token."""
        return self.graph("CumSum", self.lengths, np.int64(0), exclusive=1)

    @cached_property
    def longest(self) -> str:
        """() N."""
        return self.graph("ReduceMax", self.lengths, keepdims=0)

    @cached_property
    def columns(self) -> str:
        """(N,) 0, 1, …"""
        return self.graph("Range", np.int64(0), self.longest, np.int64(1))

    @cached_property
    def real(self) -> str:
        """(B, N) bool: a token, not padding."""
        return self.graph("Less", self.columns, self.graph("Unsqueeze", self.lengths, whole_numbers(1)))

    @cached_property
    def rows(self) -> str:
        """(B, N) the packed row that stands at each place; padding reads some row of another sentence."""
        rows = self.graph("Add", self.graph("Unsqueeze", self.first, whole_numbers(1)), self.columns)
        last = self.graph("Sub", self.graph("ReduceSum", self.lengths, keepdims=0), np.int64(1))
        return self.graph("Min", rows, last)

    @cached_property
    def places(self) -> str:
        """(T,) where each packed row stands in B·N."""
        return self.graph("Squeeze", self.graph("NonZero", self.graph("Reshape", self.valid, FLAT)), whole_numbers(0))

    @cached_property
    def mask(self) -> str:
        """(B, 1, 1, N) what is added to attention scores so that nobody looks at padding."""
        mask = self.graph("Where", self.valid, np.float32(0), MASKED)
        return self.graph("Unsqueeze", mask, whole_numbers(1, 2))

    @cached_property
    def query_mask(self) -> str:
        """(B, 1, 1, N) 1 for a query that is a token, 0 for padding."""
        return self.graph("Unsqueeze", self.graph("Cast", self.valid, to=FLOAT), whole_numbers(1, 2))


def wanted(graph: Graph, original_lengths: str, rate: float) -> str:
    """(B,) how many tokens top-k leaves: round(original length · rate), half to even, at least 1."""
    share = graph("Mul", graph("Cast", original_lengths, to=FLOAT), np.float32(rate))
    return graph("Max", graph("Cast", graph("Round", share), to=INT64), np.int64(1))

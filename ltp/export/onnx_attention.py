"""Attention and token removal as ONNX operators.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, D = H/A per head, K tokens kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ltp.export.onnx_graph import FLOAT, INT64, Graph, int64_array
from ltp.export.onnx_places import MASKED, Places
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.scores import LARGEST_LOG, SMALLEST_SCORE, SMALLEST_SQUARE, head_gram
from ltp.settings.pruning import SALIENCY

INFINITY = np.float32(np.inf)
FLAT = int64_array(-1)  # the shape of one dimension
# Names of a layer's values (B, N) that a threshold is compared with, and of the threshold.
SCORES, MIN_SCORE = "layer{}.scores", "layer{}.min_score"
PROTECTED = "protected_tokens"  # (B,) tokens at each sentence's start that are never dropped, where there are such


class PruningAttention:
    """Writes each layer's attention and token removal, and follows how many tokens the sentences still have.

    Outside of attention tokens are packed (T, …); inside, sentences are padded to the longest (B, N, …).
    """

    def __init__(
        self, graph: Graph, model: LTPForSequenceClassification, lengths: str, places: Places,
        protected: str | None = None,
    ) -> None:  # fmt: skip
        self.protected = protected  # (B,) tokens at each sentence's start that are never dropped; None: the first
        probes = getattr(model, SALIENCY, None)  # (L, H + 1), of the score `saliency`
        self.probes = None if probes is None else probes.detach().float().cpu().numpy()
        self.graph, self.rule, self.original_lengths = graph, model.rule(), lengths
        self.decides_by_attention = model.decides_by_attention()  # (L,)
        self.heads, self.hidden_size = model.heads, model.config.hidden_size
        self.outputs = [model.layout.output_projection(layer) for layer in model.layout.layers(model.encoder)]
        self.contributions = model.config.scoring_mode == "contribution"
        self.padding, self.places = PaddingIndices(graph, lengths), places

    @property
    def lengths(self) -> str:
        """(B,) tokens of each sentence now."""
        return self.padding.lengths

    @property
    def sequence_starts(self) -> str:
        """(B,) the packed row of each sentence's first token now: ``cu_seqlens[:-1]``."""
        return self.padding.sequence_starts

    def attend(self, projected: str, hidden: str, layer: int) -> tuple[str, str]:
        """Queries, keys and values (T, 3H) and ``hidden`` (T, H) -> context and hidden (K, H) of the tokens kept.

        For a layer that decides by its attention, or drops none.
        """
        graph, padding = self.graph, self.padding
        query, key, value = self._split_heads(projected, 3)
        places = self.places.padded(padding.packed_rows)
        probabilities = self._probabilities(query, key, places, places, layer)
        context = self._context(probabilities, value)
        if not self.rule.is_active(layer):
            return graph("Gather", context, padding.indices), hidden
        kept = self._decide(self._passes_rule(hidden, layer, probabilities, value))
        self._drop_all_but(kept)
        return graph("Gather", context, kept.indices), graph("Gather", hidden, kept.rows)

    def decide(self, hidden: str, layer: int) -> Kept:
        """The tokens that a layer will keep, from the states ``hidden`` (T, H) that enter it, before its attention."""
        return self._decide(self._passes_rule(hidden, layer))

    def attend_kept(self, query: str, projected: str, kept: Kept, layer: int) -> str:
        """Queries (K, H) of the tokens kept, keys and values (T, 2H) of all -> context (K, H) of the tokens kept."""
        key, value = self._split_heads(projected, 2)
        key_mask, key_places = self.padding.key_mask, self.places.padded(self.padding.packed_rows)
        self._drop_all_but(kept)
        query = self._heads(query, 1)
        places = self.places.padded(self.padding.packed_rows)
        probabilities = self._probabilities(query, key, places, key_places, layer, key_mask)
        return self.graph("Gather", self._context(probabilities, value), self.padding.indices)

    def attend_last(self, projected: str, hidden: str, layer: int) -> str:
        """Queries, keys and values (T, 3H) of a last layer -> context (B, H) of the first tokens.

        For one that decides by its attention. ``hidden`` (T, H) is what entered it. The dropped tokens only leave the
        counts: no later product would read those that stay.
        """
        query, key, value = self._split_heads(projected, 3)
        places = self.places.padded(self.padding.packed_rows)
        probabilities = self._probabilities(query, key, places, places, layer)
        first = self.graph("Slice", probabilities, int64_array(0), int64_array(1), int64_array(2))  # (B, A, 1, N)
        context = self._context(first, value)
        self._count_only(self._passes_rule(hidden, layer, probabilities, value))
        return context

    def attend_first(self, query: str, projected: str, hidden: str, layer: int) -> str:
        """First tokens' queries (B, H), keys and values (T, 2H) -> their context (B, H).

        For a last layer that does not decide by its attention; what it drops leaves the counts. ``hidden`` (T, H) is
        what entered it.
        """
        head_size = self.hidden_size // self.heads
        queries = self.graph("Reshape", query, int64_array(-1, self.heads, 1, head_size))  # (B, A, 1, D)
        key, value = self._split_heads(projected, 2)
        places = self.places.padded(self.padding.packed_rows)
        context = self._context(self._probabilities(queries, key, None, places, layer), value)
        if self.rule.is_active(layer):
            self._count_only(self._passes_rule(hidden, layer))
        return context

    def _split_heads(self, projected: str, parts: int) -> list[str]:
        """(T, parts · H) -> each part (B, A, N, D)."""
        return self.graph("Split", self._heads(projected, parts), axis=1, num_outputs=parts, outputs=parts)

    def _heads(self, projected: str, parts: int) -> str:
        """(T, parts · H) -> (B, parts · A, N, D)."""
        graph = self.graph
        padded = graph("Gather", projected, self.padding.packed_rows)  # (B, N, parts · H)
        heads = graph("Reshape", padded, int64_array(0, 0, parts * self.heads, self.hidden_size // self.heads))
        return graph("Transpose", heads, perm=[0, 2, 1, 3])

    def mean(self, hidden: str) -> str:
        """(T, H) -> (B, H) the mean of each sentence's tokens."""
        graph, padding = self.graph, self.padding
        padded = graph("Gather", hidden, padding.packed_rows)  # (B, N, H)
        sums = graph("MatMul", graph("Squeeze", padding.query_mask, int64_array(1)), padded)  # (B, 1, H)
        return graph("Squeeze", graph("Div", sums, padding.float_lengths), int64_array(1))

    def _probabilities(
        self, query: str, key: str, query_places: str | None, key_places: str, layer: int, key_mask: str | None = None
    ) -> str:
        """Queries (B, A, Q, D) and keys (B, A, N, D) -> (B, A, Q, N); places as in :class:`Places`."""
        graph, places = self.graph, self.places
        key_mask = self.padding.key_mask if key_mask is None else key_mask
        query, key = places.compared(query, key, query_places, key_places, layer)
        added = places.added(query, key, key_mask, query_places, key_places, layer)
        scores = graph("MatMul", query, graph("Transpose", key, perm=[0, 1, 3, 2]))
        scale = np.float32((self.hidden_size // self.heads) ** -0.5)
        return graph("Softmax", graph("Add", graph("Mul", scores, scale), added), axis=-1)

    def _context(self, probabilities: str, value: str) -> str:
        """(B, A, Q, N) and (B, A, N, D) -> (B·Q, H)."""
        context = self.graph("Transpose", self.graph("MatMul", probabilities, value), perm=[0, 2, 1, 3])
        return self.graph("Reshape", context, int64_array(-1, self.hidden_size))

    def _decide(self, passing: str) -> Kept:
        """The tokens of ``passing`` (N,) or (B, N), of which padding may be some."""
        graph, padding = self.graph, self.padding
        kept = graph("And", passing, padding.valid)
        indices = graph("Squeeze", graph("NonZero", graph("Reshape", kept, FLAT)), int64_array(0))
        return Kept(indices, graph("Gather", graph("Reshape", padding.packed_rows, FLAT), indices), self._counted(kept))

    def _counted(self, kept: str) -> PaddingIndices:
        """Sentences of the tokens of ``kept`` (B, N)."""
        lengths = self.graph("ReduceSum", self.graph("Cast", kept, to=INT64), int64_array(1), keepdims=0)
        return PaddingIndices(self.graph, lengths)

    def _drop_all_but(self, kept: Kept) -> None:
        """From here on, the sentences have the tokens ``kept``."""
        self.places.select(kept.rows)
        self.padding = kept.padding

    def _count_only(self, passing: str) -> None:
        """From here on, the tokens of ``passing`` count; for a last layer, after which none is looked up."""
        self.padding = self._counted(self.graph("And", passing, self.padding.valid))

    def _received(self, hidden: str, layer: int, probabilities: str | None, value: str | None) -> str:
        """(B, N) attention that each token receives, or what it contributes (ltp.models.scores), or its saliency.

        From ``probabilities`` (B, A, N, N) and ``value`` (B, A, N, D), or ``hidden`` (T, H), what entered the layer.
        """
        graph, padding = self.graph, self.padding
        if self.probes is not None:
            probe = graph.constants.add(self.probes[layer, :-1, None], f"layer{layer}.probe")
            logs = graph("Add", graph("MatMul", hidden, probe), self.probes[layer, -1])
            logs = graph("Clip", logs, np.float32(-LARGEST_LOG), np.float32(LARGEST_LOG))
            predicted = graph("Reshape", graph("Exp", logs), FLAT)
            return graph("Where", padding.valid, graph("Gather", predicted, padding.packed_rows), np.float32(0))
        received = graph("MatMul", padding.query_mask, probabilities)  # (B, A, 1, N)
        if not self.contributions:
            return graph("ReduceSum", received, int64_array(1, 2), keepdims=0)
        gram_matrix = head_gram(self.outputs[layer].weight.detach().float().cpu(), self.heads).numpy()  # (A, D, D)
        gram = graph.constants.add(gram_matrix, f"layer{layer}.gram")
        squares = graph("Mul", graph("MatMul", value, gram), value)
        squares = graph("Max", graph("ReduceSum", squares, int64_array(-1), keepdims=0), np.float32(SMALLEST_SQUARE))
        received = graph("Div", graph("Squeeze", received, int64_array(2)), padding.float_lengths)
        # A slice, not a row by its number: a batch without sentences has no row 0.
        first_rows = graph("Slice", probabilities, int64_array(0), int64_array(1), int64_array(2))  # (B, A, 1, N)
        received = graph("Add", received, graph("ReduceSum", first_rows, int64_array(2), keepdims=0))  # (B, A, N)
        return graph("ReduceSum", graph("Mul", received, graph("Sqrt", squares)), int64_array(1), keepdims=0)

    def _centred_log(self, received: str) -> str:
        """(B, N) scores.centred_log of ``received`` (B, N)."""
        graph, padding = self.graph, self.padding
        logs = graph("Log", graph("Max", received, np.float32(SMALLEST_SCORE)))
        count = graph("Reshape", graph("Max", padding.longest, np.int64(0)), FLAT)
        ascending = graph("TopK", graph("Where", padding.valid, logs, INFINITY), count, outputs=2, largest=0)[0]
        middle = graph("Div", graph("Sub", graph("Max", padding.lengths, np.int64(1)), np.int64(1)), np.int64(2))
        median = graph("GatherElements", ascending, graph("Unsqueeze", middle, int64_array(1)), axis=1)  # (B, 1)
        return graph("Sub", logs, median)

    def _never_dropped(self) -> str:
        """(N,) or (B, N) bool: the first tokens, or those that are protected; padding may be among them."""
        graph, columns = self.graph, self.padding.columns
        if self.protected is None:
            return graph("Equal", columns, np.int64(0))
        return graph("Less", columns, graph("Unsqueeze", self.protected, int64_array(1)))

    def _passes_rule(self, hidden: str, layer: int, probabilities: str | None = None, value: str | None = None) -> str:
        """(N,) or (B, N) bool by the rules of ltp.models.pruning, of an active layer; padding may pass too.

        Arguments are those of :meth:`_received`.
        """
        graph, rule, padding = self.graph, self.rule, self.padding
        first = self._never_dropped()
        if rule.keeps_first_only(layer):
            return first
        received = self._received(hidden, layer, probabilities, value)
        if rule.centred:
            received = self._centred_log(received)
        elif rule.mode not in ("absolute_threshold", "topk"):
            received = graph("Div", received, graph("ReduceMax", received, int64_array(1)))
        if rule.mode != "topk":
            scores = graph("Identity", received, output_name=SCORES.format(layer))
            least = graph.constants.add(np.float32(rule.min_scores[layer]), MIN_SCORE.format(layer))
            return graph("Or", graph("GreaterOrEqual", scores, least), first)
        scores = graph("Where", first, INFINITY, received)
        # The largest of no lengths is the smallest integer; TopK wants 0 then.
        count = graph("Reshape", graph("Max", padding.longest, np.int64(0)), FLAT)
        order = graph("TopK", scores, count, outputs=2)[1]  # (B, N)
        columns = graph("Expand", padding.columns, graph("Shape", order))
        rank = graph("ScatterElements", order, order, columns, axis=1)
        kept = topk_count(graph, self.original_lengths, rule.keep_rates[layer])  # (B,)
        return graph("Or", graph("Less", rank, graph("Unsqueeze", kept, int64_array(1))), first)


@dataclass(frozen=True)
class Kept:
    """The tokens that a layer keeps: ``indices`` (K,) into B·N, ``rows`` (K,) into T, and the sentences they make."""

    indices: str
    rows: str
    padding: PaddingIndices


class PaddingIndices:
    """Indices between packed tokens (T,) and padded sentences (B, N); each is written where it is first used."""

    def __init__(self, graph: Graph, lengths: str) -> None:
        self.graph, self.lengths = graph, lengths

    @cached_property
    def sequence_starts(self) -> str:
        """(B,) the packed row of each sentence's first token: ``cu_seqlens[:-1]``."""
        return self.graph("CumSum", self.lengths, np.int64(0), exclusive=1)

    @cached_property
    def float_lengths(self) -> str:
        """(B, 1, 1) the lengths as floating-point numbers."""
        return self.graph("Unsqueeze", self.graph("Cast", self.lengths, to=FLOAT), int64_array(1, 2))

    @cached_property
    def longest(self) -> str:
        """() N."""
        return self.graph("ReduceMax", self.lengths, keepdims=0)

    @cached_property
    def columns(self) -> str:
        """(N,) 0, 1, …"""
        return self.graph("Range", np.int64(0), self.longest, np.int64(1))

    @cached_property
    def valid(self) -> str:
        """(B, N) bool: a token, not padding."""
        return self.graph("Less", self.columns, self.graph("Unsqueeze", self.lengths, int64_array(1)))

    @cached_property
    def packed_rows(self) -> str:
        """(B, N) the packed row of each padded place; at padding it is some other token's, which the masks cancel."""
        rows = self.graph("Add", self.graph("Unsqueeze", self.sequence_starts, int64_array(1)), self.columns)
        last = self.graph("Sub", self.graph("ReduceSum", self.lengths, keepdims=0), np.int64(1))
        return self.graph("Min", rows, last)

    @cached_property
    def indices(self) -> str:
        """(T,) each packed token's place in the padded, flattened sentences (B·N)."""
        return self.graph("Squeeze", self.graph("NonZero", self.graph("Reshape", self.valid, FLAT)), int64_array(0))

    @cached_property
    def key_mask(self) -> str:
        """(B, 1, 1, N) added to attention scores: 0 for a token, very negative for padding."""
        mask = self.graph("Where", self.valid, np.float32(0), MASKED)
        return self.graph("Unsqueeze", mask, int64_array(1, 2))

    @cached_property
    def query_mask(self) -> str:
        """(B, 1, 1, N) 1 for a query that is a token, 0 for padding."""
        return self.graph("Unsqueeze", self.graph("Cast", self.valid, to=FLOAT), int64_array(1, 2))


def topk_count(graph: Graph, original_lengths: str, rate: float) -> str:
    """(B,) how many tokens top-k keeps: round(original length · rate), half to even, at least 1."""
    share = graph("Mul", graph("Cast", original_lengths, to=FLOAT), np.float32(rate))
    return graph("Max", graph("Cast", graph("Round", share), to=INT64), np.int64(1))

"""What the places of tokens in their sentences do to attention, as ONNX operators: by layout, see ltp.models.layouts.

Shapes: T tokens in the batch, B sentences, N longest sentence, A heads, D head size, Q queries (N, or fewer), R rows of
distances. Queries' places (B, Q) are None where they are the first tokens, whose place is 0.
"""

from __future__ import annotations

import numpy as np
import torch

from ltp.export.onnx_graph import FLOAT, Graph, int64_array
from ltp.models.layouts.deberta import DebertaLayout
from ltp.models.layouts.modernbert import ModernBertLayout
from ltp.models.modeling import LTPForSequenceClassification

MASKED = np.float32(np.finfo(np.float32).min)  # added to the scores of what is not seen; infinity would give 0 · ∞


def places_of(graph: Graph, model: LTPForSequenceClassification, positions: str) -> Places:
    """The class for a model's layout; ``positions`` (T,) count each sentence's tokens from 0."""
    kinds = {ModernBertLayout: RotaryPlaces, DebertaLayout: DistancePlaces}
    return kinds.get(type(model.layout), Places)(graph, model, positions)


class Places:
    """Places that attention does not look at: they are in the embeddings."""

    def __init__(self, graph: Graph, model: LTPForSequenceClassification, positions: str) -> None:
        self.graph, self.model, self.layout, self.positions = graph, model, model.layout, positions
        self.layers = model.layout.layers(model.encoder)
        self._padded: dict[tuple[str, str], str] = {}

    def select(self, rows: str) -> None:
        """From here on, only the tokens in ``rows`` (K,) are left."""
        if self.layout.needs_positions:
            self.positions = self.graph("Gather", self.positions, rows)

    def compared(self, query: str, key: str, query_places: str | None, key_places: str, layer: int) -> tuple[str, str]:
        """Queries (B, A, Q, D) and keys (B, A, N, D) as their products are taken."""
        return query, key

    def added(self, query: str, key: str, key_mask: str, query_places: str | None, key_places: str, layer: int) -> str:
        """What is added to the scaled scores: ``key_mask`` (B, 1, 1, N), or more, to (B, A or 1, Q, N).

        Queries and keys are those of :meth:`compared`.
        """
        return key_mask

    def padded(self, packed_rows: str) -> str:
        """(B, N) places in the padded sentences, by the packed row of each; at padding some other token's.

        Nothing is written where no attention looks at places.
        """
        if not self.layout.needs_positions:
            return ""
        key = (self.positions, packed_rows)
        if key not in self._padded:
            self._padded[key] = self.graph("Gather", self.positions, packed_rows)
        return self._padded[key]

    def distances(self, query_places: str | None, key_places: str) -> str:
        """(B, Q, N) the place of each query less that of each key."""
        graph = self.graph
        keys = graph("Unsqueeze", key_places, int64_array(1))  # (B, 1, N)
        if query_places is None:
            return graph("Neg", keys)
        return graph("Sub", graph("Unsqueeze", query_places, int64_array(2)), keys)


class RotaryPlaces(Places):
    """ModernBERT's: queries and keys are rotated, and local layers see a window."""

    layout: ModernBertLayout

    def __init__(self, graph: Graph, model: LTPForSequenceClassification, positions: str) -> None:
        super().__init__(graph, model, positions)
        self._rotations: dict[tuple[str, str], tuple[str, str]] = {}

    def _rotation(self, places: str, kind: str) -> tuple[str, str]:
        """Cosine and sine (B, 1, N, D) of ``places`` (B, N) for one type of layers."""
        graph, rotary, key = self.graph, self.model.encoder.rotary_emb, (places, kind)
        if key not in self._rotations:
            frequencies = getattr(rotary, f"{kind}_inv_freq").float().cpu().numpy()
            scaling = np.float32(getattr(rotary, f"{kind}_attention_scaling"))
            turns = graph("Unsqueeze", graph("Cast", places, to=FLOAT), int64_array(1, 3))  # (B, 1, N, 1)
            angles = graph("Mul", turns, np.concatenate([frequencies, frequencies]))
            cosine, sine = (graph("Mul", graph(name, angles), scaling) for name in ("Cos", "Sin"))
            self._rotations[key] = cosine, sine
        return self._rotations[key]

    def compared(self, query: str, key: str, query_places: str | None, key_places: str, layer: int) -> tuple[str, str]:
        kind = self.layers[layer].attention_type

        def rotated(values: str, places: str) -> str:
            cosine, sine = self._rotation(places, kind)
            first, second = self.graph("Split", values, axis=-1, num_outputs=2, outputs=2)
            other = self.graph("Concat", self.graph("Neg", second), first, axis=-1)
            return self.graph("Add", self.graph("Mul", values, cosine), self.graph("Mul", other, sine))

        return query if query_places is None else rotated(query, query_places), rotated(key, key_places)

    def added(self, query: str, key: str, key_mask: str, query_places: str | None, key_places: str, layer: int) -> str:
        if self.layers[layer].attention_type != "sliding_attention":
            return key_mask
        graph = self.graph
        distances = graph("Unsqueeze", graph("Abs", self.distances(query_places, key_places)), int64_array(1))
        return graph("Where", graph("Greater", distances, np.int64(self.layout.window)), MASKED, key_mask)


class DistancePlaces(Places):
    """DeBERTa's: queries are also compared with the keys of distances, and keys with the queries of distances."""

    layout: DebertaLayout

    def compared(self, query: str, key: str, query_places: str | None, key_places: str, layer: int) -> tuple[str, str]:
        return self.graph("Mul", query, np.float32(self.layout.terms**-0.5)), key

    def added(self, query: str, key: str, key_mask: str, query_places: str | None, key_places: str, layer: int) -> str:
        graph, layout = self.graph, self.layout
        with torch.no_grad():
            keys_of, queries_of = (
                None if table is None else table.float().cpu().numpy()
                for table in layout.distance_tables(self.layers[layer].attention.self, self.model.encoder.encoder)
            )
        if keys_of is None and queries_of is None:
            return key_mask
        table = layout.rows(torch.arange(-layout.most, layout.most + 1)).numpy()  # farther ones have the same rows
        distances = self.distances(query_places, key_places)
        distances = graph("Clip", distances, np.int64(-layout.most), np.int64(layout.most))
        rows = graph("Gather", table, graph("Add", distances, np.int64(layout.most)))
        rows = graph("Unsqueeze", rows, int64_array(1))  # (B, 1, Q, N)
        rows = graph("Expand", rows, int64_array(1, layout.heads, 1, 1))
        scale = np.float32((self.model.config.hidden_size // layout.heads) ** -0.5)
        total = key_mask
        if keys_of is not None:
            products = graph("MatMul", query, graph.constants.add(keys_of * scale, f"layer{layer}.distance_keys"))
            total = graph("Add", total, graph("GatherElements", products, rows, axis=-1))
        if queries_of is not None:
            products = graph("MatMul", key, graph.constants.add(queries_of * scale, f"layer{layer}.distance_queries"))
            found = graph("GatherElements", products, graph("Transpose", rows, perm=[0, 1, 3, 2]), axis=-1)
            total = graph("Add", total, graph("Transpose", found, perm=[0, 1, 3, 2]))
        return total

"""DeBERTa-v2 and v3: attention to what a token is and to how far away it is, each with projections of its own.

A token that stays keeps the place that it had in its sentence: distances are between those places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, PreTrainedConfig
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from ltp.common.errors import LTPError
from ltp.models.attention import AttentionBias
from ltp.models.blocks import Wanted, attend, project
from ltp.models.flops import Sizes
from ltp.models.layouts.layout import EmbeddingModules, HeadModules, Layout
from ltp.models.packing import PackedTokens
from ltp.models.prepacked_linear import LinearFunction, PrepackedWeights


@dataclass(frozen=True)
class Shared:
    """What the layers of one forward pass share.

    ``encoder`` is the module that holds the embeddings of distances. ``rows`` (2·P − 1,) are the rows of those
    embeddings for the distances −(P − 1) to P − 1, P being the longest sentence, counted from row ``first`` on.
    """

    encoder: nn.Module
    prepacked: PrepackedWeights
    rows: Tensor
    first: int


class DebertaLayout(Layout):
    """Scores are (q·k + q·K[distance] + k·Q[distance]) / √(3·D), with K and Q projected embeddings of distances."""

    config_class = DebertaV2Config
    model_class = DebertaV2ForSequenceClassification
    encoder_name = "deberta"
    has_bert_blocks = False
    needs_positions = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        base = config.base_config()
        if getattr(base, "conv_kernel_size", 0) > 0:
            raise LTPError(
                f"conv_kernel_size: {base.conv_kernel_size} is a convolution over neighbouring tokens, some of which "
                "would be dropped; expected a DeBERTa without one, such as deberta-v3-base"
            )
        kinds = (base.pos_att_type or []) if base.relative_attention else []
        self.query_distances, self.key_distances = "c2p" in kinds, "p2c" in kinds
        self.terms = 1 + sum(kind in (base.pos_att_type or []) for kind in ("c2p", "p2c"))
        self.most = base.max_relative_positions if base.max_relative_positions > 0 else base.max_position_embeddings
        self.buckets = getattr(base, "position_buckets", -1)
        self.span = self.buckets if self.buckets > 0 else self.most
        self.pooler_activation = base.pooler_hidden_act
        self.shares = getattr(base, "share_att_key", False)

    @property
    def sizes(self) -> Sizes:
        queries, keys = self.query_distances, self.key_distances
        return replace(super().sizes, distance_rows=2 * self.span, query_distances=queries, key_distances=keys)

    def begin(self, encoder: nn.Module, tokens: PackedTokens, prepacked: PrepackedWeights) -> Shared:
        longest = int(tokens.lengths.max())
        rows = self.rows(torch.arange(1 - longest, longest, device=tokens.hidden.device))
        first = int(rows[0])
        return Shared(encoder.encoder, prepacked, rows - first, first)

    def rows(self, distances: Tensor) -> Tensor:
        """The row of each distance in the embeddings of distances."""
        if self.buckets > 0:  # far distances share rows
            distances = make_log_bucket_position(distances, self.buckets, self.most).long()
        return (distances + self.span).clamp(0, 2 * self.span - 1)

    def projections(self, layer: nn.Module) -> tuple[nn.Module, ...]:
        block = layer.attention.self
        return block.query_proj, block.key_proj, block.value_proj

    def attend(
        self, linear: LinearFunction, layer: nn.Module, tokens: PackedTokens, shared: Shared, wanted: Wanted
    ) -> tuple[Tensor, Tensor | None]:
        block = layer.attention.self
        query, key, value = project(linear, self.projections(layer), tokens.hidden, wanted.queries)
        dropout = block.dropout.p if block.training else 0.0
        bias = self._bias(block, shared) if self.query_distances or self.key_distances else None
        return attend(query * self.terms**-0.5, key, value, tokens, self.heads, dropout, wanted, bias)

    def _bias(self, block: nn.Module, shared: Shared) -> AttentionBias:
        """What distances add to the scores of one layer; queries are divided by √terms already."""
        used = slice(shared.first, shared.first + int(shared.rows[-1]) + 1)
        longest = (shared.rows.shape[0] + 1) // 2
        tables = self.distance_tables(block, shared.encoder, shared.prepacked)
        keys_of, queries_of = (None if table is None else table[..., used] for table in tables)

        def bias(queries: Tensor, keys: Tensor, places: Tensor, key_places: Tensor) -> Tensor:
            distances = places[:, :, None] - key_places[:, None, :]  # (B, Q, N)
            rows = shared.rows[distances + longest - 1][:, None].expand(-1, self.heads, -1, -1)  # (B, A, Q, N)
            scale, added = queries.shape[-1] ** -0.5, queries.new_zeros(())
            if keys_of is not None:
                added = added + torch.matmul(queries * scale, keys_of).gather(-1, rows)
            if queries_of is not None:
                added = added + torch.matmul(keys * scale, queries_of).gather(-1, rows.transpose(2, 3)).transpose(2, 3)
            return added

        return bias

    def distance_tables(
        self, block: nn.Module, encoder: nn.Module, prepacked: PrepackedWeights | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """(A, D, 2·span) twice: keys of distances, and queries of distances divided by √terms; None for what is not.

        With ``prepacked``, computed once in inference.
        """
        norm = (encoder.LayerNorm,) if hasattr(encoder, "LayerNorm") else ()

        def projected(module: nn.Module, scale: float) -> Tensor:
            def compute() -> Tensor:
                rows = module(block.pos_dropout(encoder.get_rel_embedding()[: 2 * self.span])) * scale
                return rows.view(2 * self.span, self.heads, -1).permute(1, 2, 0)

            return (
                compute() if prepacked is None else prepacked.computed((encoder.rel_embeddings, *norm, module), compute)
            )

        keys = queries = None
        if self.query_distances:
            keys = projected(block.key_proj if self.shares else block.pos_key_proj, 1.0)
        if self.key_distances:
            queries = projected(block.query_proj if self.shares else block.pos_query_proj, self.terms**-0.5)
        return keys, queries

    def embedding_modules(self, encoder: nn.Module) -> EmbeddingModules:
        if encoder.embeddings.embed_proj is not None:
            raise LTPError(
                f"embedding_size: {encoder.embeddings.embedding_size}, narrower than the layers, cannot be exported to "
                "ONNX for DeBERTa; run it in PyTorch"
            )
        return super().embedding_modules(encoder)

    def head_modules(self, model: nn.Module) -> HeadModules:
        return HeadModules(model.pooler.dense, self.pooler_activation, model.classifier)

    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        return model.classifier(model.dropout(model.pooler(pooled[:, None])))

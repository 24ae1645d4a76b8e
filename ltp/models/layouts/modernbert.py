"""ModernBERT: rotary positions, global and local attention in turn, LayerNorm before each part, and a gate.

A token that stays keeps the place that it had in its sentence: rotations and local windows are of those places, not of
the places among the tokens that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import ModernBertConfig, ModernBertForSequenceClassification, PreTrainedConfig
from transformers import initialization as init
from transformers.models.modernbert.modeling_modernbert import ModernBertRotaryEmbedding

from ltp.common.errors import LTPError
from ltp.models.attention import AttentionBias
from ltp.models.blocks import Wanted, attend, dropped, project
from ltp.models.flops import Sizes
from ltp.models.layouts.layout import EmbeddingModules, HeadModules, LayerModules, Layout
from ltp.models.packing import PackedTokens
from ltp.models.prepacked_linear import LinearFunction, PrepackedWeights, apply_linear, is_wrapped


@dataclass(frozen=True)
class Shared:
    """What the layers of one forward pass share, by their type: rotations (P, D) of the places 0 to P − 1, windows."""

    rotations: dict[str, tuple[Tensor, Tensor]]  # cosine and sine
    biases: dict[str, AttentionBias | None]


class ModernBertLayout(Layout):
    """The head reads the first token or, with ``classifier_pooling: mean``, the mean of the tokens that are left."""

    config_class = ModernBertConfig
    model_class = ModernBertForSequenceClassification
    encoder_name = "model"
    has_bert_blocks = False
    norms_first = True
    needs_positions = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        base = config.base_config()
        self.types, self.window = base.layer_types, base.sliding_window
        self.head_activation = base.classifier_activation
        self.reads_all = base.classifier_pooling == "mean"
        for parameters in base.rope_parameters.values():
            if parameters["rope_type"] in ("dynamic", "longrope"):
                raise LTPError(
                    f"rope_type: {parameters['rope_type']!r} makes positions depend on the longest sentence of a "
                    "batch; expected default, or another that does not"
                )

    @property
    def sizes(self) -> Sizes:
        return replace(super().sizes, fused_projection=True)

    def word_embeddings(self, encoder: nn.Module) -> nn.Embedding:
        return encoder.embeddings.tok_embeddings

    def layers(self, encoder: nn.Module) -> Sequence[nn.Module]:
        return encoder.layers

    def embed(self, encoder: nn.Module, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        return encoder.embeddings(input_ids=ids[None])[0]

    def begin(self, encoder: nn.Module, tokens: PackedTokens, prepacked: PrepackedWeights) -> Shared:
        longest = int(tokens.lengths.max())
        places = torch.arange(longest, device=tokens.hidden.device)[None]
        rotations = {kind: encoder.rotary_emb(tokens.hidden, places, kind) for kind in set(self.types)}
        local = self._local_window if longest - 1 > self.window else None  # else every pair lies within the window
        return Shared(
            {kind: (cosine[0], sine[0]) for kind, (cosine, sine) in rotations.items()},
            {"full_attention": None, "sliding_attention": local},
        )

    def _local_window(self, queries: Tensor, keys: Tensor, places: Tensor, key_places: Tensor) -> Tensor:
        """(B, 1, Q, N) 0 within the window, very negative outside."""
        outside = (places[:, None, :, None] - key_places[:, None, None, :]).abs() > self.window
        zeros = torch.zeros_like(outside, dtype=queries.dtype)
        return zeros.masked_fill(outside, torch.finfo(queries.dtype).min)

    def output_projection(self, layer: nn.Module) -> nn.Module:
        return layer.attn.Wo

    def projections(self, layer: nn.Module) -> tuple[nn.Module, ...]:
        return (layer.attn.Wqkv,)

    def attend(
        self, linear: LinearFunction, layer: nn.Module, tokens: PackedTokens, shared: Shared, wanted: Wanted
    ) -> tuple[Tensor, Tensor | None]:
        block = layer.attn
        normed = layer.attn_norm(tokens.hidden)
        query, key, value = project(linear, self.projections(layer), normed, wanted.queries)
        rotations = [table.index_select(0, tokens.positions) for table in shared.rotations[layer.attention_type]]
        key = self._rotated(key, *rotations)
        if wanted.queries is not None:
            rotations = [table.index_select(0, wanted.queries.rows) for table in rotations]
        query = self._rotated(query, *rotations)
        dropout = block.attention_dropout if block.training else 0.0
        return attend(query, key, value, tokens, self.heads, dropout, wanted, shared.biases[layer.attention_type])

    def _rotated(self, values: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """(T, H) queries or keys, each head's rotated by its token's place; cosine and sine (T, D), in 32 bits."""
        heads = values.view(values.shape[0], self.heads, -1)
        wide = heads.to(torch.promote_types(heads.dtype, torch.float32))
        first, second = wide.chunk(2, -1)
        rotated = wide * cosine[:, None] + torch.cat((-second, first), -1) * sine[:, None]
        return rotated.to(values.dtype).view_as(values)

    def finish(self, linear: LinearFunction, layer: nn.Module, context: Tensor, residual: Tensor) -> Tensor:
        (projected,) = linear(context, layer.attn.Wo)
        attended = residual + dropped(layer.attn.out_drop, projected)
        return attended + self._feed_forward(linear, layer.mlp, layer.mlp_norm(attended))

    def _feed_forward(self, linear: LinearFunction, block: nn.Module, normed: Tensor) -> Tensor:
        if linear is apply_linear or is_wrapped(block):
            return block(normed)
        values, gate = linear(normed, block.Wi)[0].chunk(2, -1)
        return linear(dropped(block.drop, block.act(values) * gate), block.Wo)[0]

    def end(self, encoder: nn.Module, hidden: Tensor) -> Tensor:
        return encoder.final_norm(hidden)

    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        return model.classifier(model.drop(model.head(pooled)))

    def embedding_modules(self, encoder: nn.Module) -> EmbeddingModules:
        return EmbeddingModules(encoder.embeddings.tok_embeddings, None, None, encoder.embeddings.norm)

    def modules(self, layer: nn.Module) -> LayerModules:
        return LayerModules(
            self.projections(layer), layer.attn.Wo, layer.attn_norm, layer.mlp.Wi, layer.mlp.Wo, layer.mlp_norm
        )

    def head_modules(self, model: nn.Module) -> HeadModules:
        return HeadModules(model.head.dense, self.head_activation, model.classifier, model.head.norm)

    def init_buffers(self, module: nn.Module) -> None:
        if not isinstance(module, ModernBertRotaryEmbedding):
            return
        fresh = ModernBertRotaryEmbedding(module.config)
        for name, buffer in fresh.named_buffers():
            init.copy_(getattr(module, name), buffer)

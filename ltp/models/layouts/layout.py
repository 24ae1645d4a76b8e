"""What an adapter says of one architecture, and what most of them share: BERT's layers under their own names.

An adapter (a `Layout`) tells where an encoder's modules are and how they are put together; the loop over packed tokens
(ltp.models.encoder), conversion and the ONNX export use it. Weights stay in the base model's modules, under its names.

Shapes: T tokens in the batch, B sentences, H hidden, A heads, I intermediate, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from ltp.models.blocks import Wanted, add_and_norm, attend, intermediate, project
from ltp.models.flops import Sizes
from ltp.models.packing import PackedTokens
from ltp.models.prepacked_linear import LinearFunction, PrepackedWeights
from ltp.results.encoders import ENCODERS


@dataclass(frozen=True)
class LayerModules:
    """A layer's modules, for the ONNX export: what runs in this order, attention between ``qkv`` and ``output``.

    ``qkv`` are the query, key and value projections, or one that makes all three.
    """

    qkv: tuple[nn.Linear, ...]
    output: nn.Linear
    attention_norm: nn.Module
    widen: nn.Linear
    narrow: nn.Linear
    output_norm: nn.Module


class HeadModules(NamedTuple):
    """The head's modules, for the ONNX export, in their order, with the name of the activation after ``dense``."""

    dense: nn.Linear
    activation: str
    last: nn.Linear
    norm: nn.LayerNorm | None = None  # after the activation


class EmbeddingModules(NamedTuple):
    """The embeddings' modules, for the ONNX export; None for what an architecture lacks."""

    words: nn.Embedding
    positions: nn.Embedding | None
    segments: nn.Embedding | None
    norm: nn.LayerNorm
    projection: nn.Linear | None = None  # after the norm


class Layout(ABC):
    """BERT's layout: embeddings with positions, layers with LayerNorms after each sum, a head on the first token.

    One for each model, made from its LTPConfig. Other architectures override what differs, and raise LTPError for a
    configuration that they cannot run.
    """

    config_class: ClassVar[type[PreTrainedConfig]]
    model_class: ClassVar[type[PreTrainedModel]]
    encoder_name: str  # the encoder's attribute in the classifier
    has_bert_blocks = True  # whether the modules in the encoder are named and nested as BERT's
    first_position = 0  # of the embeddings of positions
    norms_first = False  # whether a LayerNorm stands before each part, rather than after each sum
    needs_positions = False  # whether layers need the tokens' places in their sentences
    reads_all = False  # whether the head reads all tokens that are left, not only the first

    def __init__(self, config: PreTrainedConfig) -> None:
        self.config, self.heads = config, config.num_attention_heads

    @property
    def sizes(self) -> Sizes:
        """What the cost of the layers depends on."""
        config = self.config
        gate = ENCODERS[config.base_model_type].gated
        return Sizes(config.hidden_size, config.intermediate_size, 3 if gate else 2, reads_all=self.reads_all)

    def word_embeddings(self, encoder: nn.Module) -> nn.Embedding:
        """The embeddings of the vocabulary."""
        return encoder.embeddings.word_embeddings

    def layers(self, encoder: nn.Module) -> Sequence[nn.Module]:
        """The layers, in order."""
        return encoder.encoder.layer

    def embed(self, encoder: nn.Module, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """(T, H) embeddings of ids, segments and positions (T,), which count the sentence's tokens from 0."""
        positions = positions + self.first_position if self.first_position else positions
        return encoder.embeddings(input_ids=ids[None], token_type_ids=types[None], position_ids=positions[None])[0]

    def begin(self, encoder: nn.Module, tokens: PackedTokens, prepacked: PrepackedWeights) -> Any:
        """What all layers of one forward pass share; given to `attend`."""
        return None

    def attention_block(self, layer: nn.Module) -> nn.Module:
        """The module that holds a layer's projections and its dropout of attention."""
        return layer.attention.self

    def projections(self, layer: nn.Module) -> tuple[nn.Module, ...]:
        """The linear layers that make queries, keys and values: three, or one that makes all."""
        block = layer.attention.self
        return block.query, block.key, block.value

    def output_projection(self, layer: nn.Module) -> nn.Module:
        """The linear layer after attention."""
        return layer.attention.output.dense

    def embedding_modules(self, encoder: nn.Module) -> EmbeddingModules:
        """The embeddings' modules by what they do."""
        module = encoder.embeddings
        positions, segments = (getattr(module, f"{name}_embeddings", None) for name in ("position", "token_type"))
        return EmbeddingModules(module.word_embeddings, positions, segments, module.LayerNorm)

    def modules(self, layer: nn.Module) -> LayerModules:
        """A layer's modules by what they do."""
        attention = layer.attention.output
        return LayerModules(
            self.projections(layer), attention.dense, attention.LayerNorm,
            layer.intermediate.dense, layer.output.dense, layer.output.LayerNorm,
        )  # fmt: skip

    @abstractmethod
    def head_modules(self, model: nn.Module) -> HeadModules:
        """The head's modules by what they do."""

    def attend(
        self, linear: LinearFunction, layer: nn.Module, tokens: PackedTokens, shared: Any, wanted: Wanted
    ) -> tuple[Tensor, Tensor | None]:
        """Attention before its output projection: context (T, H), or (K, H), and each token's score (T,) or None."""
        block = self.attention_block(layer)
        projected = project(linear, self.projections(layer), tokens.hidden, wanted.queries)
        return attend(*projected, tokens, self.heads, block.dropout.p if block.training else 0.0, wanted)

    def finish(self, linear: LinearFunction, layer: nn.Module, context: Tensor, residual: Tensor) -> Tensor:
        """The rest of a layer: output projection and feed-forward, each with its sum and norm; (K, H) twice -> (K, H).

        ``residual`` is what entered the layer.
        """
        attended = add_and_norm(linear, layer.attention.output, context, residual)
        widened = intermediate(linear, layer.intermediate, attended)
        return add_and_norm(linear, layer.output, widened, attended)

    def end(self, encoder: nn.Module, hidden: Tensor) -> Tensor:
        """What the encoder does after its last layer: (K, H) -> (K, H)."""
        return hidden

    @abstractmethod
    def classify(self, model: nn.Module, pooled: Tensor) -> Tensor:
        """(B, H) first tokens, or means of all -> (B, C) logits, by the base model's own head."""

    def init_buffers(self, module: nn.Module) -> None:
        """Set the buffers of one module that no checkpoint holds."""
        if isinstance(positions := getattr(module, "position_ids", None), Tensor):
            init.copy_(positions, torch.arange(positions.shape[-1])[None])
            if isinstance(types := getattr(module, "token_type_ids", None), Tensor):
                init.zeros_(types)

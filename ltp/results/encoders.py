"""The architectures that can be pruned, and how their config.json and weights name what is read without torch.

Their modules are in ltp.models.layouts, one adapter for each name here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Encoder:
    """Names of one architecture, BERT's by default.

    ``keys`` maps BERT's name of a config key to this architecture's where they differ. ``words`` and ``layer`` are the
    ends of the names of two weights: the word embeddings and, with the layer's number, the last product of a layer.
    ``dropout`` are the config keys of the encoder's dropout rates, ``word_size`` is that of the word embeddings' width
    (where it is missing, it is the layers'). ``padded_positions``: positions start after the
    padding index. ``gated``: the feed-forward has a gate, a third product of the same size. ``soft_masks``:
    multiplying a token's state makes it count less in the layers that follow, as the soft masks of λ want it.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    words: str = "embeddings.word_embeddings.weight"
    layer: str = "encoder.layer.{}.output.dense.weight"
    dropout: tuple[str, ...] = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    word_size: str = "hidden_size"
    padded_positions: bool = False
    gated: bool = False
    soft_masks: bool = True

    def key(self, name: str) -> str:
        """This architecture's name of the config key that BERT calls ``name``."""
        return self.keys.get(name, name)


_ROBERTA = Encoder(padded_positions=True)
_DISTILBERT_KEYS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
ENCODERS = {
    "bert": Encoder(),
    "camembert": _ROBERTA,
    "deberta-v2": Encoder(word_size="embedding_size"),
    "distilbert": Encoder(
        keys=_DISTILBERT_KEYS,
        layer="transformer.layer.{}.ffn.lin2.weight",
        dropout=("dropout", "attention_dropout", "seq_classif_dropout"),
    ),
    "electra": Encoder(word_size="embedding_size"),
    "modernbert": Encoder(
        keys={"hidden_act": "hidden_activation"},
        words="embeddings.tok_embeddings.weight",
        layer="layers.{}.mlp.Wo.weight",
        dropout=("embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout"),
        gated=True,
        soft_masks=False,  # the norm before each part of a layer undoes the multiplication
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}


def encoder_type(config: Mapping[str, Any]) -> str | None:
    """The architecture that a config.json names; of a pruning model's, that of its encoder."""
    return config.get("base_model_type") or config.get("model_type")


def config_value(config: Mapping[str, Any], name: str) -> Any:
    """What a supported encoder's config.json says under BERT's key ``name``; None where it lacks it."""
    return config.get(ENCODERS[encoder_type(config) or ""].key(name))

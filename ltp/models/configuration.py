"""LTPConfig: the base encoder's configuration plus how to prune."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ltp.models.layouts.registry import layout_class
from ltp.results.encoders import ENCODERS
from ltp.settings.pruning import PruningSettings

OPTIONAL_KEYS = ("protected_until", "token_keep_rates")  # of our own keys, those that few models have


class LTPConfig(PreTrainedConfig):
    """Configuration of a token-pruned encoder.

    Holds every key of the base encoder's configuration, unchanged, and those of
    :class:`ltp.settings.PruningSettings`. ``base_model_type`` names the architecture. A key that it calls otherwise
    can also be read under BERT's name, such as ``hidden_size``.
    ``protected_until`` is a token's id, that of the tokenizer's separator: the tokens of a sentence up to its first
    one, such as a reranker's query, are never dropped; None protects none.
    """

    model_type = "ltp"
    # Counts beside the outputs: the library's Trainer gives `compute_metrics` the outputs alone.
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["attention_tokens", "ffn_tokens", "regulariser", "kept"]

    base_model_type: str = "bert"
    prune_mode: str = "none"
    final_token_threshold: float = 0.01
    token_keep_rate: float = 1.0
    token_keep_rates: list[float] | None = None  # (L,) of top-k for a FLOPs target, in the place of token_keep_rate
    scoring_mode: str = "mean"
    score_length: int = 128
    protected_until: int | None = None

    @classmethod
    def from_base(cls, base: PreTrainedConfig, pruning: PruningSettings) -> LTPConfig:
        """The configuration of ``base`` with pruning added; LTPError for an architecture without an adapter."""
        layout_class(base.model_type)
        keys = pruning.added_to(base.to_dict())
        del keys["model_type"]  # the class's own
        return cls(**keys)

    def to_dict(self) -> dict[str, Any]:
        """As the library's, without the optional keys that are not set: as the versions wrote it that lacked them."""
        content = super().to_dict()
        return {key: value for key, value in content.items() if key not in OPTIONAL_KEYS or value is not None}

    def base_config(self) -> PreTrainedConfig:
        """The base encoder's configuration, as it was before conversion."""
        config_class = layout_class(self.base_model_type).config_class
        own = {
            "model_type", "base_model_type", "architectures", *OPTIONAL_KEYS, *vars(PruningSettings()),
        }  # fmt: skip
        return config_class(**{k: v for k, v in self.to_dict().items() if k not in own})

    def __getattr__(self, name: str) -> Any:
        # Called for what is not there under this name.
        values = object.__getattribute__(self, "__dict__")
        encoder = ENCODERS.get(values.get("base_model_type", ""))
        if encoder is None or encoder.key(name) not in values:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return values[encoder.key(name)]

    def pruning(self) -> PruningSettings:
        """The pruning keys, checked; LTPError names a bad one."""
        return PruningSettings(**{name: getattr(self, name) for name in vars(PruningSettings())})

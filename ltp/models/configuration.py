"""LTPConfig: the base encoder's configuration plus how to prune."""

from __future__ import annotations

from typing import Any

from transformers import BertConfig, PreTrainedConfig, RobertaConfig

from ltp.common.errors import LTPError
from ltp.settings.pruning import PruningSettings

BASE_CONFIGS = {"bert": BertConfig, "roberta": RobertaConfig}


class LTPConfig(PreTrainedConfig):
    """Configuration of a token-pruned encoder.

    Holds every key of the base encoder's configuration, unchanged, and those of
    :class:`ltp.settings.PruningSettings`. ``base_model_type`` names the architecture (``bert`` or ``roberta``).
    ``protected_until`` is a token's id, that of the tokenizer's separator: the tokens of a sentence up to its first
    one, such as a reranker's query, are never dropped; None protects none.
    """

    model_type = "ltp"

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
        """The configuration of ``base`` (BERT or RoBERTa) with pruning added; LTPError for another architecture."""
        require_supported(base.model_type)
        keys = pruning.added_to(base.to_dict())
        del keys["model_type"]  # the class's own
        return cls(**keys)

    def to_dict(self) -> dict[str, Any]:
        """As the library's; a config that protects no tokens is written as by the versions that could not."""
        content = super().to_dict()
        if content.get("protected_until") is None:
            content.pop("protected_until", None)
        return content

    def base_config(self) -> PreTrainedConfig:
        """The base encoder's configuration, as it was before conversion."""
        require_supported(self.base_model_type)
        own = {
            "model_type", "base_model_type", "architectures", "protected_until", "token_keep_rates",
            *vars(PruningSettings()),
        }  # fmt: skip
        return BASE_CONFIGS[self.base_model_type](**{k: v for k, v in self.to_dict().items() if k not in own})

    def pruning(self) -> PruningSettings:
        """The pruning keys, checked; LTPError names a bad one."""
        return PruningSettings(**{name: getattr(self, name) for name in vars(PruningSettings())})


def require_supported(model_type: str) -> None:
    """Raise LTPError unless the architecture has BERT's layer layout and a test here."""
    if model_type not in BASE_CONFIGS:
        raise LTPError(
            f"model_type: {model_type!r} is not supported; expected one of {', '.join(sorted(BASE_CONFIGS))}: "
            "choose a checkpoint of such an encoder"
        )

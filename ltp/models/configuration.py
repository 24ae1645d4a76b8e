"""LTPConfig: the base encoder's configuration plus how to prune."""

from __future__ import annotations

from transformers import BertConfig, PreTrainedConfig, RobertaConfig

from ltp.common.errors import LTPError
from ltp.settings.pruning import PruningSettings

BASE_CONFIGS = {"bert": BertConfig, "roberta": RobertaConfig}


class LTPConfig(PreTrainedConfig):
    """Configuration of a token-pruned encoder.

    Holds every key of the base encoder's configuration, unchanged, and those of
    :class:`ltp.settings.PruningSettings`. ``base_model_type`` names the architecture (``bert`` or ``roberta``).
    """

    model_type = "ltp"

    base_model_type: str = "bert"
    prune_mode: str = "none"
    final_token_threshold: float = 0.01
    token_keep_rate: float = 1.0
    token_keep_rates: list[float] | None = None  # (L,) of top-k for a FLOPs target, in the place of token_keep_rate
    scoring_mode: str = "mean"
    score_length: int = 128

    @classmethod
    def from_base(cls, base: PreTrainedConfig, pruning: PruningSettings) -> LTPConfig:
        """The configuration of ``base`` (BERT or RoBERTa) with pruning added; LTPError for another architecture."""
        require_supported(base.model_type)
        keys = pruning.added_to(base.to_dict())
        del keys["model_type"]  # the class's own
        return cls(**keys)

    def base_config(self) -> PreTrainedConfig:
        """The base encoder's configuration, as it was before conversion."""
        require_supported(self.base_model_type)
        own = {"model_type", "base_model_type", "architectures", "token_keep_rates", *vars(PruningSettings())}
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

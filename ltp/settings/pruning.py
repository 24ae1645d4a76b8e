"""The settings of one conversion: how the converted model prunes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltp.settings.fields import check_limits, described

SMALLEST_THRESHOLD = 1e-5  # the original's floor: no score is compared with a smaller threshold
THRESHOLDS = "threshold_deltas"  # the learned parameter, in the model and in its weights file
SALIENCY = "saliency_probes"  # what the score `saliency` predicts with, a probe for each layer: a buffer, saved with it
SCORING_MODES = ("mean", "relative", "contribution", "saliency")
# Thresholds of the scores that are relative to the sentence (all but mean), which are logarithms: at or below the
# first a layer drops nothing, at or above the second all but the first token. Neither need score its tokens.
KEEP_ALL, KEEP_FIRST = -100.0, 100.0
# What a model ends in, as its architecture's name has it → the kinds of tasks that it is for; the first is the default.
HEADS = {
    "SequenceClassification": ("classification", "regression"),
    "TokenClassification": ("tokens",),
    "QuestionAnswering": ("spans",),
}
PRUNE_MODES = ("none", "absolute_threshold", "rising_threshold", "threshold", "topk")


def probe_shape(layers: int, hidden_size: int) -> tuple[int, int]:
    """The shape of SALIENCY: weights and an intercept for each layer."""
    return layers, hidden_size + 1


def head_of(config: Mapping[str, Any]) -> str:
    """What a model with this config.json ends in: a key of HEADS."""
    architecture = next(iter(config.get("architectures") or ()), "")
    return next((head for head in HEADS if architecture.endswith(head)), next(iter(HEADS)))


def head_for(kind: str) -> str:
    """What a model for a kind of task ends in: a key of HEADS."""
    return next(head for head, kinds in HEADS.items() if kind in kinds)


@dataclass(frozen=True)
class PruningSettings:
    """How a converted model prunes (the original's ``prune_kwargs``)."""

    prune_mode: str = described("absolute_threshold", "rule that decides which tokens stay", choices=PRUNE_MODES)
    final_token_threshold: float = described(
        0.01, "threshold of the last layer; earlier layers get a share that rises linearly", minimum=0.0, maximum=1.0
    )
    token_keep_rate: float = described(
        1.0,
        "share of the tokens that the last layer keeps; a negative rate reaches the first token early; topk only",
        above=-10.0,
        maximum=1.0,
    )
    scoring_mode: str = described(
        "mean",
        "how a token's importance is scored: mean attention received (the paper's), the same relative to the "
        "sentence's median token, what it contributes to the others, relative likewise, or how much the answer depends "
        "on it, relative likewise, predicted from its state by probes that ltp train fits",
        choices=SCORING_MODES,
    )
    score_length: int = described(
        128,
        "constant that divides the attention a token receives, so a threshold means the same at any padding",
        minimum=1,
    )

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def is_relative(self) -> bool:
        """Whether the score compares a token with the others of its sentence: its thresholds are then logarithms."""
        return self.scoring_mode != "mean"

    def initial_thresholds(self, layers: int) -> list[float]:
        """What ``threshold_deltas`` (L,) starts from: 0 added to the configured thresholds; relative: no pruning."""
        return [KEEP_ALL if self.is_relative else 0.0] * layers

    def added_to(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a base encoder's config.json with pruning added: those of a model that prunes."""
        keys = {key: value for key, value in base.items() if key not in ("model_type", "architectures")}
        return {
            "architectures": [f"LTPFor{head_of(base)}"],
            "model_type": "ltp",
            "base_model_type": base["model_type"],
            **keys,
            **vars(self),
        }

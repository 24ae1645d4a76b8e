"""The settings of one conversion and of one training, checked when made. Torch-free.

The command line makes one flag of each field, and the grid one key, so a setting is described once, here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ltp.errors import LTPError

PRUNE_MODES = ("none", "absolute_threshold", "rising_threshold", "threshold", "topk")


def described(default: Any, text: str, **limits: Any) -> Any:
    """A dataclass field with its help text and limits (``minimum``, ``maximum``, ``above``, ``choices``)."""
    return field(default=default, metadata={"help": text, **limits})


def check_limits(settings: Any) -> None:
    """Raise LTPError for the first field of a settings dataclass that breaks the limits in its metadata."""
    for item in fields(settings):
        value, limits = getattr(settings, item.name), item.metadata
        if value is None:
            continue
        name = item.name.rstrip("_")
        if "choices" in limits and value not in limits["choices"]:
            raise LTPError(f"{name}: {value!r} is not one of {', '.join(map(str, limits['choices']))}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if not math.isfinite(value):
            raise LTPError(f"{name}: {value} is not a finite number")
        if "minimum" in limits and value < limits["minimum"]:
            raise LTPError(f"{name}: {value} is too small; expected at least {limits['minimum']}")
        if "maximum" in limits and value > limits["maximum"]:
            raise LTPError(f"{name}: {value} is too large; expected at most {limits['maximum']}")
        if "above" in limits and value <= limits["above"]:
            raise LTPError(f"{name}: {value} is too small; expected more than {limits['above']}")


@dataclass(frozen=True)
class PruningSettings:
    """How a converted model prunes (the original's ``prune_kwargs``)."""

    prune_mode: str = described("absolute_threshold", "rule that decides which tokens stay", choices=PRUNE_MODES)
    final_token_threshold: float = described(
        0.01, "threshold of the last layer; earlier layers get a share that rises linearly", minimum=0.0, maximum=1.0
    )
    token_keep_rate: float = described(
        1.0,
        "topk: share of the tokens kept by the last layer; negative rates floor at the first token",
        above=-10.0,
        maximum=1.0,
    )
    scoring_mode: str = described("mean", "how a token's importance is averaged", choices=("mean",))
    score_length: int = described(
        128,
        "constant that divides the attention a token receives, so a threshold means the same at any padding",
        minimum=1,
    )

    def __post_init__(self) -> None:
        check_limits(self)

    def added_to(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a base encoder's config.json with pruning added: those of a model that prunes."""
        keys = {key: value for key, value in base.items() if key not in ("model_type", "architectures")}
        return {
            "architectures": ["LTPForSequenceClassification"],
            "model_type": "ltp",
            "base_model_type": base["model_type"],
            **keys,
            **vars(self),
        }


@dataclass(frozen=True)
class TrainingSettings:
    """How one stage trains. The defaults are the original's, where it has them."""

    learning_rate: float = described(2e-5, "peak learning rate of the weights", above=0.0, maximum=1.0)
    epochs: float = described(1.0, "passes over the training split", above=0.0)
    batch_size: int = described(64, "sentences in an optimiser step, over all devices", minimum=1)
    accumulation_steps: int = described(1, "parts in which a batch is computed, to save memory", minimum=1)
    weight_decay: float = described(0.0, "AdamW's weight decay (never applied to thresholds)", minimum=0.0)
    warmup: float = described(0.0, "share of the steps over which the learning rate rises", minimum=0.0, maximum=1.0)
    max_grad_norm: float = described(1.0, "gradient clip of the weights; thresholds are clipped apart", above=0.0)
    dropout: float | None = described(None, "dropout of the encoder; unset: as in the model", minimum=0.0, maximum=0.9)
    seed: int = described(0, "seed of the shuffling, the dropout and the new classifier", minimum=0)
    temperature: float | None = described(None, "soft stage: width of the sigmoid round a threshold", above=0.0)
    lambda_: float | None = described(None, "soft stage: weight of the mean mask in the loss", minimum=0.0)
    lambda_warmup: float = described(0.0, "share of the steps over which λ rises", minimum=0.0, maximum=1.0)
    threshold_learning_rate: float | None = described(
        None, "soft stage: learning rate of the thresholds; unset: as the weights'", above=0.0
    )
    distillation: float = described(
        0.0, "share of the loss that asks for the dense model's outputs instead of the labels", minimum=0.0, maximum=1.0
    )
    precision: str = described("fp32", "number format of the matrix products", choices=("fp32", "bf16", "fp16"))
    checkpoint_minutes: float = described(5.0, "minutes between two resumable checkpoints", above=0.0)
    tensorboard: bool = described(False, "write TensorBoard logs below the run directory")

    def __post_init__(self) -> None:
        check_limits(self)
        if self.batch_size % self.accumulation_steps:
            raise LTPError(
                f"accumulation_steps: {self.accumulation_steps} does not divide batch_size {self.batch_size}; "
                "choose a divisor"
            )
